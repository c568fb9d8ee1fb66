package policy

// alpha2 holds the 249 officially assigned codes of ISO 3166-1, one row for
// each first letter. It is a table and not a library because the libraries at
// hand mix in codes that are withdrawn, reserved or made up (AN, YU, XK, EA,
// …), and because a residency that is signed must not change when a dependency
// does. The tests check it against two of them.
const alpha2 = "" +
	"AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ " +
	"BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BV BW BY BZ " +
	"CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ " +
	"DE DJ DK DM DO DZ " +
	"EC EE EG EH ER ES ET " +
	"FI FJ FK FM FO FR " +
	"GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY " +
	"HK HM HN HR HT HU " +
	"ID IE IL IM IN IO IQ IR IS IT " +
	"JE JM JO JP " +
	"KE KG KH KI KM KN KP KR KW KY KZ " +
	"LA LB LC LI LK LR LS LT LU LV LY " +
	"MA MC MD ME MF MG MH MK ML MM MN MO MP MQ MR MS MT MU MV MW MX MY MZ " +
	"NA NC NE NF NG NI NL NO NP NR NU NZ " +
	"OM " +
	"PA PE PF PG PH PK PL PM PN PR PS PT PW PY " +
	"QA " +
	"RE RO RS RU RW " +
	"SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ " +
	"TC TD TF TG TH TJ TK TL TM TN TO TR TT TV TW TZ " +
	"UA UG UM US UY UZ " +
	"VA VC VE VG VI VN VU " +
	"WF WS " +
	"YE YT " +
	"ZA ZM ZW"

// notCodes are what people write for a country that has another code.
var notCodes = map[string]string{"UK": "GB", "EL": "GR", "USA": "US", "TP": "TL"}

// countrySet is a set of two-letter codes: bit 26·a+b for letters a and b.
type countrySet [(26*26 + 63) / 64]uint64

// countries is every code of alpha2.
var countries = setOf(alpha2)

// setOf reads codes parted by single spaces.
func setOf(codes string) (s countrySet) {
	for i := 0; i+2 <= len(codes); i += 3 {
		s.add(codes[i : i+2])
	}
	return s
}

// bit returns the place of a code, or -1 if it is not two capital letters.
func bit(code string) int {
	if len(code) != 2 || code[0] < 'A' || code[0] > 'Z' || code[1] < 'A' || code[1] > 'Z' {
		return -1
	}
	return 26*int(code[0]-'A') + int(code[1]-'A')
}

func (s *countrySet) add(code string) {
	i := bit(code)
	s[i/64] |= 1 << (i % 64)
}

func (s *countrySet) has(code string) bool {
	i := bit(code)
	return i >= 0 && s[i/64]&(1<<(i%64)) != 0
}

func (s *countrySet) union(t *countrySet) {
	for i := range s {
		s[i] |= t[i]
	}
}

// list returns the codes in alphabetical order.
func (s *countrySet) list() []string {
	var out []string
	for i := range 26 * 26 {
		if s[i/64]&(1<<(i%64)) != 0 {
			out = append(out, string([]byte{'A' + byte(i/26), 'A' + byte(i%26)}))
		}
	}
	return out
}

// IsCountry reports whether code is an officially assigned ISO 3166-1 alpha-2
// code. Lower case is not accepted: one country has one spelling.
func IsCountry(code string) bool { return countries.has(code) }
