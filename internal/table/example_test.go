package table_test

import (
	"fmt"
	"strings"

	"atoll/internal/table"
)

func Example() {
	res, err := table.ParseResource([]byte(`{"fields": [
		{"name": "card", "type": "string"},
		{"name": "amount", "type": "number", "constraints": {"minimum": 0}},
		{"name": "shop", "type": "string"},
		{"name": "fraud", "type": "boolean", "constraints": {"required": true}}]}`))
	if err != nil {
		fmt.Println(err)
		return
	}
	features := table.Features{
		Inputs: []table.Input{
			{Column: "amount", As: table.AsNumber, Mean: 50, Deviation: 25},
			{Column: "shop", As: table.AsCategory, Values: []string{"food", "fuel"}, Others: true},
		},
		Label: table.Label{Column: "fraud", Classes: []string{"false", "true"}},
		Unit:  "card",
	}
	file := "card,amount,shop,fraud\nA-1,75,food,false\nB-2,25,bets,true\n"
	rows, err := features.Examples(res.Schema, res.ReadCSV("cards.csv", strings.NewReader(file)), nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(features.Names())
	for i, label := range rows.Labels {
		fmt.Println(rows.Row(i), features.Label.Classes[label])
	}
	file += "A-1,-3,fuel,false\n"
	_, err = features.Examples(res.Schema, res.ReadCSV("cards.csv", strings.NewReader(file)), nil)
	fmt.Println(err)
	// Output:
	// [amount shop=food shop=fuel shop=other]
	// [1 1 0 0] false
	// [-1 0 0 1] true
	// cards.csv, line 4, row 3, column "amount": want at least 0
}
