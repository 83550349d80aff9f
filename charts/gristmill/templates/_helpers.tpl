{{- /* A name that all kinds of objects may have: that of a Service has no dot, and begins with a letter. */ -}}
{{- define "gristmill.name" -}}
{{- $release := .Release.Name | replace "." "-" }}
{{- if regexMatch "^[0-9]" $release }}{{ printf "%s-%s" .Chart.Name $release | trunc 40 | trimSuffix "-" }}
{{- else if contains .Chart.Name $release }}{{ $release | trunc 40 | trimSuffix "-" }}
{{- else }}{{ printf "%s-%s" ($release | trunc 30 | trimSuffix "-") .Chart.Name }}
{{- end }}
{{- end }}

{{- define "gristmill.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/component: operator
{{- end }}

{{- define "gristmill.labels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "gristmill.operatorImage" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{- define "gristmill.workerImage" -}}
{{ .Values.worker.image.repository }}:{{ .Values.worker.image.tag | default .Chart.AppVersion }}
{{- end }}

{{- define "gristmill.keySecret" -}}
{{ .Values.key.existingSecret | default (printf "%s-key" (include "gristmill.name" .)) }}
{{- end }}

{{- /* The namespaces that are watched, by comma; empty: all. The queue's own is always among them. */ -}}
{{- define "gristmill.watched" -}}
{{- with .Values.watch.namespaces }}{{ append . $.Release.Namespace | uniq | sortAlpha | join "," }}{{ end }}
{{- end }}

{{- /* The bytes that a quantity means. */ -}}
{{- define "gristmill.bytes" -}}
{{- $units := dict "k" 1000 "M" 1000000 "G" 1000000000 "T" 1000000000000 "Ki" 1024 "Mi" 1048576 "Gi" 1073741824 "Ti" 1099511627776 }}
{{- mul (regexFind "^[0-9]+" .) (get $units (regexFind "[A-Za-z]+$" .) | default 1) }}
{{- end }}

{{- define "gristmill.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "gristmill.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{- /* What a job's workers get that coordinate, and the operator may give away. */ -}}
{{- define "gristmill.coordinationRole" -}}
{{ include "gristmill.name" . }}-coordination
{{- end }}

{{- /* What these may do of Leases and ConfigMaps. */ -}}
{{- define "gristmill.coordinationVerbs" -}}
get, list, watch, create, patch, delete
{{- end }}

{{- /* What the operator may do in each namespace that it watches; the reasons are in README.md. */ -}}
{{- define "gristmill.rules" -}}
- apiGroups: [gristmill.dev]
  resources: [chunkjobs]
  verbs: [list, watch, patch, delete]
- apiGroups: [gristmill.dev]
  resources: [caches]
  verbs: [list, watch]
- apiGroups: [gristmill.dev]
  resources: [filevolumes]
  verbs: [list, watch, patch]
- apiGroups: [gristmill.dev]
  resources: [chunkjobs/status, caches/status, filevolumes/status]
  verbs: [patch]
- apiGroups: [gristmill.dev]
  resources: [chunkjobs/finalizers, caches/finalizers, filevolumes/finalizers]
  verbs: [update]
- apiGroups: [batch]
  resources: [jobs]
  verbs: [list, watch, create, patch, delete]
- apiGroups: [apps]
  resources: [statefulsets]
  verbs: [list, watch, create, patch]
- apiGroups: [""]
  resources: [services]
  verbs: [get, list, create, patch]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [list, create, patch]
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [list, create, patch]
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch, delete]
- apiGroups: [""]
  resources: [secrets]
  verbs: [create, patch]
- apiGroups: [""]
  resources: [persistentvolumeclaims]
  verbs: [get, list, patch, delete]
- apiGroups: [""]
  resources: [serviceaccounts]
  verbs: [create, patch]
- apiGroups: [rbac.authorization.k8s.io]
  resources: [rolebindings]
  verbs: [create, patch]
- apiGroups: [rbac.authorization.k8s.io]
  resources: [clusterroles]
  resourceNames: [{{ include "gristmill.coordinationRole" . }}]
  verbs: [bind]
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  verbs: [list, delete]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [list, create]
- apiGroups: [kueue.x-k8s.io]
  resources: [workloads]
  verbs: [list]
{{- end }}
