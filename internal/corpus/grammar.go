package corpus

// intent is one label with the ways to say it.
type intent struct {
	label   string
	weight  int      // relative frequency
	says    []string // phrases that mean this intent
	vague   []string // phrases that could mean another one too
	foreign []string // in German or French
}

var slots = map[string][]string{
	"card":    {"card", "debit card", "credit card", "bank card", "[visa|master] card", "plastic"},
	"atm":     {"ATM", "cash machine", "cashpoint", "machine", "terminal at your branch"},
	"branch":  {"branch", "office", "your branch [downtown|at the station|in the mall]"},
	"amount":  {"[5|12|18|25|40] euros", "{big}", "[19.99|7.50|4.95|129.00] EUR", "€[15|30|60|85]"},
	"big":     {"[150|200|350|480] euros", "[1,200|2,500|3,000] euros", "€[900|1500|2200]"},
	"day":     {"yesterday", "today", "this morning", "last night", "on [monday|tuesday|friday|saturday]", "last week", "[two|three|four] days ago", "over the weekend"},
	"long":    {"[two|three|five|ten] days", "a week", "over a week", "[two|three] weeks", "ages", "[4|6|9] working days"},
	"where":   {"[at|in] the supermarket", "in a [taxi|bus|train]", "at the airport", "on holiday", "at the gym", "somewhere in town", "at a restaurant", "at work"},
	"app":     {"app", "mobile app", "online banking", "website", "web portal"},
	"shop":    {"the shop", "an online store", "the merchant", "a hotel", "an airline", "the seller", "a ticket office"},
	"who":     {"my landlord", "my sister", "my son", "a friend", "my tenant", "a supplier", "my mother", "my employer"},
	"please":  {"please", "could you", "can you [please|]", "I would like you to", "I need you to", "kindly"},
	"how":     {"how do I", "how can I", "what do I need to do to", "is it possible to", "where can I", "I would like to", "I want to", "I need to"},
	"account": {"account", "current account", "savings account", "joint account", "business account"},
	"cant":    {"can't", "cannot", "am not able to", "am unable to", "still can't"},
}

var greetings = []string{
	"hi", "hello", "hello [there|team|everyone]", "good [morning|afternoon|evening]", "dear [sir or madam|support team|bank]", "hey", "hi there, [quick question|I need help|hope you are well]", "to whom it may concern",
}

var closings = []string{
	"[thanks|thank you|many thanks|cheers]", "please [advise|help|get back to me soon]", "[what should I do|what now|can someone help me]?", "I look forward to your [reply|answer]",
	"this is [urgent|really urgent|quite annoying]", "I have been a customer for [ten|twelve|five] years", "please call me back", "[kind|best] regards", "thanks in advance for [your help|looking into it]", "how long will it take?",
}

// stories carry words of several intents and decide none.
var stories = []string{
	"I was [on the phone|in a queue] for [half an hour|forty minutes] and nobody picked up",
	"I [tried|looked at] the [help pages|chat bot] first but it only [repeated itself|sent me in circles]",
	"I am [travelling|abroad] [until next week|at the moment]",
	"I have an {account} and a {card} with you",
	"I already [wrote|called|asked] about this {day}",
	"I checked my [statement|balance|account] {day}",
	"the [lady|man|colleague] at the {branch} told me to write here",
	"I need to pay [the rent|an invoice|for my flight] {day} or soon",
	"my [wife|husband|partner] has the same {card} and has no trouble",
	"I [moved|changed jobs|got married] [last month|recently], if that matters",
	"I got [a letter|an email|a text message] from you {day} but did not understand it",
	"the {app} shows [nothing useful|only a blank page|the old information]",
	"we are talking about {amount} here",
	"I use the {app} on [an old phone|a new phone|my laptop]",
}

var passing = []string{
	"also,", "by the way,", "and another thing:", "while I am at it:", "besides that,", "on a different matter,", "oh and", "once that is sorted,",
}
