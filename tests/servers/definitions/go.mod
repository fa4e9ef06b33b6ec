module hookswitch.dev/tests/servers/definitions

go 1.26.0

// Nothing of these is built: they carry the definitions of the resources that the chart makes where it is asked to.
require (
	github.com/cert-manager/cert-manager v1.21.2
	github.com/prometheus-operator/prometheus-operator v0.85.0
	sigs.k8s.io/gateway-api v1.6.3
)
