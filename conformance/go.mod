module atoll/conformance

go 1.26.0

require (
	atoll v0.0.0
	github.com/sigstore/sigstore v1.10.0
	github.com/sigstore/sigstore-go v1.3.0
	golang.org/x/mod v0.42.0
)

replace atoll => ../
