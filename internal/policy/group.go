package policy

// version is the membership of a group from one month on.
type version struct {
	since   string // YYYY-MM; the part of the name after @
	members countrySet
}

const (
	eu27 = "AT BE BG CY CZ DE DK EE ES FI FR GR HR HU IE IT LT LU LV MT NL PL PT RO SE SI SK"
	efta = "CH IS LI NO"
	// schengen26 is the area from 2011-12, when Liechtenstein joined, to 2022.
	schengen26 = "AT BE CH CZ DE DK EE ES FI FR GR HU IS IT LI LT LU LV MT NL NO PL PT SE SI SK"
	asean10    = "BN ID KH LA MM MY PH SG TH VN"
)

// groups holds, oldest first, the versions of every group. A state's
// territories with codes of their own (RE, GF, AX, GL, PR, …) are in no group,
// because the law that a residency stands for reaches each of them differently:
// whoever wants one names it.
//
// Sources:
//
//   - EU: accession of Croatia on 1 July 2013 (OJ L 112, 24.4.2012); withdrawal
//     of the United Kingdom at the end of 31 January 2020 (OJ L 29, 31.1.2020).
//   - EEA: provisional application to Croatia from 12 April 2014 (OJ L 170,
//     11.6.2014); the United Kingdom left it together with the EU.
//   - EFTA: Vaduz Convention; Austria, Finland and Sweden left on 1 January 1995.
//   - SCHENGEN: Croatia from 1 January 2023 (Council Decision (EU) 2022/2451);
//     Bulgaria and Romania, land borders included, from 1 January 2025 (Council
//     Decision (EU) 2024/3212).
//   - G7: since The Hague Declaration of 24 March 2014, without Russia.
//   - USMCA: in force from 1 July 2020.
//   - ASEAN: Cambodia as the tenth member on 30 April 1999; Timor-Leste on 26
//     October 2025.
//
// "Adequate" third countries under GDPR Art. 45 are left out on purpose: several
// decisions cover only some recipients of a country, which a code cannot say.
var groups = map[string][]version{
	"EU":       {{"2013-07", setOf(eu27 + " GB")}, {"2020-02", setOf(eu27)}},
	"EEA":      {{"2014-04", setOf(eu27 + " GB IS LI NO")}, {"2020-02", setOf(eu27 + " IS LI NO")}},
	"EFTA":     {{"1995-01", setOf(efta)}},
	"SCHENGEN": {{"2011-12", setOf(schengen26)}, {"2023-01", setOf(schengen26 + " HR")}, {"2025-01", setOf(schengen26 + " HR BG RO")}},
	"G7":       {{"2014-03", setOf("CA DE FR GB IT JP US")}},
	"USMCA":    {{"2020-07", setOf("CA MX US")}},
	"ASEAN":    {{"1999-04", setOf(asean10)}, {"2025-10", setOf(asean10 + " TL")}},
}
