{{- define "hookkeeper.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* Short enough that the longest name made of it is still a label. */}}
{{- define "hookkeeper.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- $made := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) -}}
{{- default $made .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{/*
The name of what is outside of the release's namespace, where a release of the same name in another namespace
may have its own. Takes the context and an ending such as "-view". No namespace holds a dot, so no two are equal.
*/}}
{{- define "hookkeeper.outsideName" -}}
{{- $root := index . 0 -}}
{{- printf "%s%s.%s" (include "hookkeeper.fullname" $root) (index . 1) $root.Release.Namespace -}}
{{- end -}}

{{- define "hookkeeper.serviceAccountName" -}}
{{- $own := ternary (include "hookkeeper.fullname" .) "default" .Values.serviceAccount.create -}}
{{- default $own .Values.serviceAccount.name -}}
{{- end -}}

{{/* What never changes in the life of a release. */}}
{{- define "hookkeeper.selector" -}}
app.kubernetes.io/name: {{ include "hookkeeper.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: controller
{{- end -}}

{{- define "hookkeeper.sandbox.selector" -}}
app.kubernetes.io/name: {{ include "hookkeeper.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: sandbox
{{- end -}}

{{/* Takes the context and the component. */}}
{{- define "hookkeeper.labels" -}}
{{- with .Values.commonLabels -}}
{{ toYaml . }}
{{ end -}}
{{ include "hookkeeper.selector" . }}
{{ include "hookkeeper.labels.chart" . }}
{{- end -}}

{{- define "hookkeeper.sandbox.labels" -}}
{{- with .Values.commonLabels -}}
{{ toYaml . }}
{{ end -}}
{{ include "hookkeeper.sandbox.selector" . }}
{{ include "hookkeeper.labels.chart" . }}
{{- end -}}

{{- define "hookkeeper.labels.chart" -}}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "hookkeeper.image" -}}
{{- $tag := .Values.image.tag -}}
{{- if not (or $tag .Values.image.digest) -}}
{{- $tag = .Chart.AppVersion -}}
{{- end -}}
{{- .Values.image.repository -}}
{{- with $tag }}:{{ . }}{{ end -}}
{{- with .Values.image.digest }}@{{ . }}{{ end -}}
{{- end -}}

{{/* A length of time such as 1m30s in whole seconds, rounded up. */}}
{{- define "hookkeeper.seconds" -}}
{{- $units := dict "ms" 1 "s" 1000 "m" 60000 "h" 3600000 -}}
{{- $milliseconds := 0 -}}
{{- range regexFindAll "[0-9]+(ms|s|m|h)" . -1 -}}
{{- $number := regexFind "^[0-9]+" . -}}
{{- $milliseconds = add $milliseconds (mul (atoi $number) (get $units (trimPrefix $number .))) -}}
{{- end -}}
{{- div (add $milliseconds 999) 1000 -}}
{{- end -}}

{{- define "hookkeeper.sandbox.url" -}}
{{- $host := printf "%s-sandbox.%s.svc" (include "hookkeeper.fullname" .) .Release.Namespace -}}
{{- with .Values.sandbox.service.clusterIP -}}
{{- $host = ternary (printf "[%s]" .) . (contains ":" .) -}}
{{- end -}}
http://{{ $host }}:8480
{{- end -}}

{{/* Who gets the rights. */}}
{{- define "hookkeeper.subjects" -}}
- kind: ServiceAccount
  name: {{ include "hookkeeper.serviceAccountName" . }}
  namespace: {{ .Release.Namespace }}
{{- end -}}

{{/* What contradicts itself, said before anything is installed. */}}
{{- define "hookkeeper.check" -}}
{{- $listed := .Values.scope.namespaces -}}
{{- if and .Values.sandbox.enabled $listed (not (has .Release.Namespace $listed)) -}}
{{- fail (printf "sandbox.enabled: its objects are in the namespace of the release, so scope.namespaces must list %q too" .Release.Namespace) -}}
{{- end -}}
{{- with .Values.publishing.namespaces -}}
{{- if not $.Values.publishing.enabled -}}
{{- fail "publishing.namespaces is set, but publishing.enabled is false" -}}
{{- end -}}
{{- range . -}}
{{- if and $listed (not (has . $listed)) -}}
{{- fail (printf "publishing.namespaces: %q is not in scope.namespaces" .) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- with .Values.metrics -}}
{{- if and .serviceMonitor.enabled .podMonitor.enabled -}}
{{- fail "metrics.serviceMonitor.enabled and metrics.podMonitor.enabled: with both, everything is counted twice" -}}
{{- end -}}
{{- if and .serviceMonitor.enabled (not .service.enabled) -}}
{{- fail "metrics.serviceMonitor.enabled needs metrics.service.enabled" -}}
{{- end -}}
{{- end -}}
{{- end -}}
