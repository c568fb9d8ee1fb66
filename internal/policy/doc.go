// Package policy says where work may run. It is pure: it reads no network, disk
// or clock, and its values are immutable.
//
// A [Residency] is a set of countries, named by ISO 3166-1 alpha-2 codes or by
// groups of them:
//
//	DE            one country
//	EU            the group's latest version this build knows
//	EU@2020-02    one version of it, named for the month its membership began
//	EU@2020       the same, if just one version began in that year
//
// Membership of a group changes, so a receipt must not say "EU": parsing pins
// each group to a version, [Residency.Resolved] gives the pinned names, and
// parsing those again gives the same set for ever. Published versions are
// therefore never edited; a change of membership is a new version.
//
// A [Selector] is a label selector in the syntax of Kubernetes:
//
//	tier in (gold,silver), zone=eu, !spot, gpu, cores>8
package policy

// Limits of what is parsed.
const (
	maxResidency = 512  // names in one residency; there are 249 countries
	maxName      = 64   // bytes of one of them, as far as an error shows it
	maxSelector  = 4096 // bytes of a selector
)
