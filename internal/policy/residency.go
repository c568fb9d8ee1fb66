package policy

import (
	"maps"
	"slices"
	"strings"

	"atoll/internal/core"
)

// Residency is the set of countries that work may run in. The zero Residency
// allows every country.
type Residency struct {
	names      []string // resolved, sorted, without repeats
	set        countrySet
	restricted bool
}

// Parse reads a residency: the union of the countries and groups named. No
// names at all mean no restriction. Errors are core.Invalid, with a hint where
// the likely intention can be told.
func Parse(names []string) (Residency, error) {
	if len(names) > maxResidency {
		return Residency{}, core.Errorf(core.TooLarge, "a residency of %d names: at most %d are read", len(names), maxResidency)
	}
	r := Residency{restricted: len(names) > 0}
	for _, name := range names {
		resolved, members, err := resolve(name)
		if err != nil {
			return Residency{}, err
		}
		r.names = append(r.names, resolved)
		r.set.union(&members)
	}
	slices.Sort(r.names)
	r.names = slices.Compact(r.names)
	return r, nil
}

// Allows reports whether work may run in the country with this ISO 3166-1
// alpha-2 code. A restricted residency allows no unknown country. It does not
// allocate.
func (r Residency) Allows(country string) bool {
	return !r.restricted || r.set.has(country)
}

// Restricted reports whether any country is left out.
func (r Residency) Restricted() bool { return r.restricted }

// Resolved returns the names with every group pinned to a version, sorted: the
// form that is signed into receipts. Parse(r.Resolved()) gives r again.
func (r Residency) Resolved() []string { return slices.Clone(r.names) }

// Countries returns the codes of the countries allowed, sorted; nil if the
// residency is not restricted.
func (r Residency) Countries() []string {
	if !r.restricted {
		return nil
	}
	return r.set.list()
}

// String returns the resolved names, or "anywhere".
func (r Residency) String() string {
	if !r.restricted {
		return "anywhere"
	}
	return strings.Join(r.names, ", ")
}

// resolve returns the pinned name and the members of one country or group.
func resolve(name string) (string, countrySet, error) {
	var members countrySet
	if countries.has(name) {
		members.add(name)
		return name, members, nil
	}
	group, at, pinned := strings.Cut(name, "@")
	versions, ok := groups[group]
	if !ok {
		err := core.Errorf(core.Invalid, "residency %.*q is neither an ISO 3166-1 alpha-2 country nor a known group", maxName, name)
		return "", members, err.WithHint(suggest(name))
	}
	v := versions[len(versions)-1]
	if pinned {
		found := slices.DeleteFunc(slices.Clone(versions), func(v version) bool { return v.since != at && v.since[:4] != at })
		if len(found) != 1 {
			err := core.Errorf(core.Invalid, "residency %.*q: group %s has no single version of that name", maxName, name, group)
			return "", members, err.WithHint("its versions are " + strings.Join(versionNames(group), ", "))
		}
		v = found[0]
	}
	return group + "@" + v.since, v.members, nil
}

func versionNames(group string) []string {
	var out []string
	for _, v := range groups[group] {
		out = append(out, group+"@"+v.since)
	}
	return out
}

// suggest says what an unknown name was probably meant to be.
func suggest(name string) string {
	upper := strings.ToUpper(strings.TrimSpace(name))
	if code, ok := notCodes[upper]; ok {
		return "did you mean " + code + "?"
	}
	group, _, _ := strings.Cut(upper, "@")
	if countries.has(upper) || len(groups[group]) > 0 {
		return "did you mean " + upper + "? names are written in capitals, without spaces"
	}
	return "write a country as its two capital letters (DE, US), or a group: " + strings.Join(slices.Sorted(maps.Keys(groups)), ", ")
}
