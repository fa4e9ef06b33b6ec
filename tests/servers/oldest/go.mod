module hookswitch.dev/tests/servers/oldest

go 1.26.0

// Nothing of it is built: its types are those of the oldest Kubernetes that the chart supports.
require k8s.io/client-go v0.30.14
