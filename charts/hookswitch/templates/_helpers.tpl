{{/*
Names. Those of pods end in -receiver-0, and the controllers' labels hold them with a hash of 11
characters: 40 are left of 63.
*/}}
{{- define "hookswitch.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "hookswitch.operator" -}}
{{ include "hookswitch.fullname" . }}-operator
{{- end -}}

{{- define "hookswitch.receiver" -}}
{{ include "hookswitch.fullname" . }}-receiver
{{- end -}}

{{- define "hookswitch.operator.serviceAccount" -}}
{{- default (ternary (include "hookswitch.operator" .) "default" .Values.operator.serviceAccount.create) .Values.operator.serviceAccount.name -}}
{{- end -}}

{{- define "hookswitch.receiver.serviceAccount" -}}
{{- default (ternary (include "hookswitch.receiver" .) "default" .Values.receiver.serviceAccount.create) .Values.receiver.serviceAccount.name -}}
{{- end -}}

{{/* What cluster-wide objects are named: two releases may have one name in two namespaces. */}}
{{- define "hookswitch.clusterName" -}}
{{ include "hookswitch.fullname" . }}-{{ .Release.Namespace }}
{{- end -}}

{{/*
Labels of a component: (dict "root" $ "component" "receiver"). Selectors never change in the life of a
release, so they hold neither versions nor what a user sets.
*/}}
{{- define "hookswitch.selector" -}}
app.kubernetes.io/name: {{ default .root.Chart.Name .root.Values.nameOverride | trunc 63 }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{/* A new version of the chart alone restarts no pod. */}}
{{- define "hookswitch.podLabels" -}}
{{ include "hookswitch.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: hookswitch
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "hookswitch.labels" -}}
{{ include "hookswitch.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
app.kubernetes.io/part-of: hookswitch
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" | trunc 63 }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* An image: (dict "root" $ "image" .Values.operator.image). */}}
{{- define "hookswitch.image" -}}
{{- $name := .image.repository -}}
{{- with .root.Values.image.registry -}}
{{- $name = printf "%s/%s" (trimSuffix "/" .) $name -}}
{{- end -}}
{{- if .image.digest -}}
{{- printf "%s@%s" $name .image.digest -}}
{{- else -}}
{{- printf "%s:%s" $name (default .root.Chart.AppVersion .root.Values.image.tag) -}}
{{- end -}}
{{- end -}}

{{/* The pod's part of the restricted Pod Security standard. */}}
{{- define "hookswitch.podSecurity" -}}
runAsNonRoot: true
{{- with .Values.podSecurity.runAsUser }}
runAsUser: {{ int64 . }}
{{- end }}
{{- with .Values.podSecurity.runAsGroup }}
runAsGroup: {{ int64 . }}
{{- end }}
{{- with .Values.podSecurity.fsGroup }}
fsGroup: {{ int64 . }}
# A volume of many files would be walked through at each start.
fsGroupChangePolicy: OnRootMismatch
{{- end }}
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{/* The container's part. */}}
{{- define "hookswitch.containerSecurity" -}}
allowPrivilegeEscalation: false
capabilities: {drop: [ALL]}
privileged: false
readOnlyRootFilesystem: true
runAsNonRoot: true
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{/* Where pods go: (dict "root" $ "component" "receiver" "values" .Values.receiver). */}}
{{- define "hookswitch.placement" -}}
{{- with .values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
topologySpreadConstraints:
{{- range .values.topologySpread }}
- topologyKey: {{ .topologyKey }}
  maxSkew: {{ .maxSkew }}
  whenUnsatisfiable: {{ .whenUnsatisfiable }}
  labelSelector:
    matchLabels:
      {{- include "hookswitch.selector" $ | nindent 6 }}
{{- else }}
  []
{{- end }}
{{- end -}}

{{/* The Secrets that hold the snapshot, as a YAML list. The programs know them by these names. */}}
{{- define "hookswitch.snapshotSecrets" -}}
{{- range $index := until (int .Values.snapshot.shards) }}
- hookswitch-snapshot-{{ $index }}
{{- end }}
{{- end -}}

{{/*
All that the operator may ever write: one that is told to use fewer than before reads and deletes the others.
16 is the most that values.schema.json allows.
*/}}
{{- define "hookswitch.allSnapshotSecrets" -}}
{{- range $index := until 16 }}
- hookswitch-snapshot-{{ $index }}
{{- end }}
{{- end -}}

{{/* How many receivers there may be. */}}
{{- define "hookswitch.maxReceivers" -}}
{{- if .Values.receiver.autoscaling.enabled -}}
{{ .Values.receiver.autoscaling.maxReplicas }}
{{- else -}}
{{ .Values.receiver.replicas }}
{{- end -}}
{{- end -}}

{{/* The receivers' Leases, one a pod and named like it, as a YAML list. */}}
{{- define "hookswitch.receiverLeases" -}}
{{- range $index := until (int (include "hookswitch.maxReceivers" .)) }}
- {{ include "hookswitch.receiver" $ }}-{{ $index }}
{{- end }}
{{- end -}}

{{/* The Secret with the certificate. */}}
{{- define "hookswitch.tlsSecret" -}}
{{- default (printf "%s-tls" (include "hookswitch.receiver" .)) .Values.tls.secretName -}}
{{- end -}}

{{/* What the Service's port is: of HTTPS or of HTTP. */}}
{{- define "hookswitch.servicePort" -}}
{{- default (ternary 443 80 .Values.tls.enabled) .Values.service.port -}}
{{- end -}}
