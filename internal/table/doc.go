// Package table reads a site's rows: CSV or Parquet, as described by a Frictionless
// Table Schema (specs.frictionlessdata.io/table-schema), row by row, in bounded memory,
// and turns them into the numbers that models are trained on.
//
// # What is read
//
// [ParseResource] takes a Table Schema, or a Data Resource with a schema and a CSV
// dialect. What the standard has and this package has not is refused by name, never
// skipped: a constraint that is not checked is a promise that is not kept.
//
//	field types    string, integer, number, boolean, date, datetime
//	fields         name, type, format (dates: default or a strptime pattern), constraints,
//	               missingValues, trueValues, falseValues, decimalChar, groupChar
//	constraints    required, unique, enum, minimum, maximum, exclusiveMinimum,
//	               exclusiveMaximum, minLength, maxLength, pattern
//	schema         fields, missingValues, primaryKey, fieldsMatch "exact"
//	dialect        header, delimiter, skipInitialSpace
//
// Titles, descriptions and examples are read past. An integer lies within ±(2^53 − 1),
// for it is to become a number: declare longer ones, such as account numbers, as
// strings. NaN and infinities are refused. CSV is UTF-8 (a byte order mark is
// skipped), lines end with LF, CRLF or CR. Datetimes
// are kept to the second, and are in UTC where they name no zone. Parquet columns must be flat, and of a type that is the
// field's; an empty string is a string there, and nothing is what is null.
//
// Every error about a row says which file, row and column, what was wrong and what was
// wanted.
//
// # What sites must share
//
// [Schema.Digest] names what rows mean: names, types, constraints and key of the
// fields. How a file spells that is its own affair: missing values, formats, words for
// true and false, and the dialect are not in the digest.
//
// [Features] says which columns a model sees and as which numbers. It is a part of a
// federation's specification, not of a site.
package table
