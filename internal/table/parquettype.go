package table

import (
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/deprecated"
	"github.com/parquet-go/parquet-go/format"
)

// meaning is what a Parquet column's annotation says of its physical type.
type meaning struct {
	is   string        // "" (nothing is said), text, date, time, integer, unsigned; or another, which is not supported
	unit time.Duration // of a time since 1970
}

// meaningOf reads a column's annotation: the logical type, or what older writers put
// in its place.
func meaningOf(t parquet.Type) meaning {
	if l := t.LogicalType(); l != nil && l.Value != nil {
		switch v := l.Value.(type) {
		case *format.StringType, *format.EnumType:
			return meaning{is: "text"}
		case *format.DateType:
			return meaning{is: "date"}
		case *format.TimestampType:
			if v.Unit.Value != nil {
				return meaning{is: "time", unit: v.Unit.Value.Duration()}
			}
		case *format.IntType:
			if !v.IsSigned {
				return meaning{is: "unsigned"}
			}
			return meaning{is: "integer"}
		}
		return meaning{is: "other"}
	}
	c := t.ConvertedType()
	if c == nil {
		return meaning{}
	}
	switch *c {
	case deprecated.UTF8, deprecated.Enum:
		return meaning{is: "text"}
	case deprecated.Date:
		return meaning{is: "date"}
	case deprecated.TimestampMillis:
		return meaning{is: "time", unit: time.Millisecond}
	case deprecated.TimestampMicros:
		return meaning{is: "time", unit: time.Microsecond}
	case deprecated.Uint8, deprecated.Uint16, deprecated.Uint32, deprecated.Uint64:
		return meaning{is: "unsigned"}
	case deprecated.Int8, deprecated.Int16, deprecated.Int32, deprecated.Int64:
		return meaning{is: "integer"}
	}
	return meaning{is: "other"}
}

// converter returns how the values of a Parquet type become those of a field. What is
// another thing than the field says is refused.
func converter(f *Field, t parquet.Type) (func(parquet.Value) (Value, error), error) {
	type from struct {
		kind parquet.Kind
		is   string
	}
	m := meaningOf(t)
	at := from{t.Kind(), m.is}
	switch f.Type {
	case String:
		if at == (from{parquet.ByteArray, "text"}) || at == (from{parquet.ByteArray, ""}) {
			return textValue, nil
		}
	case Boolean:
		if at == (from{parquet.Boolean, ""}) {
			return func(v parquet.Value) (Value, error) {
				if v.Boolean() {
					return Value{Number: 1}, nil
				}
				return Value{}, nil
			}, nil
		}
	case Date:
		if at == (from{parquet.Int32, "date"}) {
			return func(v parquet.Value) (Value, error) { return Value{Number: float64(v.Int32()) * 86400}, nil }, nil
		}
	case DateTime:
		if at == (from{parquet.Int64, "time"}) {
			unit := int64(time.Second / m.unit)
			return func(v parquet.Value) (Value, error) { return Value{Number: float64(floor(v.Int64(), unit))}, nil }, nil
		}
	case Integer, Number:
		number := map[from]func(parquet.Value) float64{
			{parquet.Int32, ""}:         func(v parquet.Value) float64 { return float64(v.Int32()) },
			{parquet.Int32, "integer"}:  func(v parquet.Value) float64 { return float64(v.Int32()) },
			{parquet.Int32, "unsigned"}: func(v parquet.Value) float64 { return float64(v.Uint32()) },
			{parquet.Int64, ""}:         func(v parquet.Value) float64 { return float64(v.Int64()) },
			{parquet.Int64, "integer"}:  func(v parquet.Value) float64 { return float64(v.Int64()) },
			{parquet.Int64, "unsigned"}: func(v parquet.Value) float64 { return float64(v.Uint64()) },
			{parquet.Float, ""}:         func(v parquet.Value) float64 { return float64(v.Float()) },
			{parquet.Double, ""}:        parquet.Value.Double,
		}[at]
		if number != nil {
			return func(v parquet.Value) (Value, error) { return f.number(number(v)) }, nil
		}
	}
	return nil, fmt.Errorf("a column of the Parquet type %v is no %s; store it as one, or change the schema", t, f.Type)
}

func textValue(v parquet.Value) (Value, error) {
	if b := v.ByteArray(); utf8.Valid(b) {
		return Value{Text: string(b)}, nil
	}
	return Value{}, errors.New("it is not UTF-8; convert the file")
}

// floor is n/d, rounded down.
func floor(n, d int64) int64 {
	q := n / d
	if n%d < 0 {
		q--
	}
	return q
}
