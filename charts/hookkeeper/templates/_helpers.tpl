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

{{- define "hookkeeper.gate.selector" -}}
app.kubernetes.io/name: {{ include "hookkeeper.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: gate
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

{{- define "hookkeeper.gate.labels" -}}
{{- with .Values.commonLabels -}}
{{ toYaml . }}
{{ end -}}
{{ include "hookkeeper.gate.selector" . }}
{{ include "hookkeeper.labels.chart" . }}
{{- end -}}

{{/* Takes the context and the annotations that only this object has, which win. Begins with a new line. */}}
{{- define "hookkeeper.annotations" -}}
{{- $common := (index . 0).Values.commonAnnotations -}}
{{- with mergeOverwrite dict $common (index . 1) }}
  annotations:
    {{- toYaml . | nindent 4 }}
{{- end }}
{{- end -}}

{{- define "hookkeeper.labels.chart" -}}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "hookkeeper.gate.fullname" -}}
{{- printf "%s-gate" (include "hookkeeper.fullname" .) -}}
{{- end -}}

{{- define "hookkeeper.gate.serviceAccountName" -}}
{{- $own := ternary (include "hookkeeper.gate.fullname" .) "default" .Values.gate.serviceAccount.create -}}
{{- default $own .Values.gate.serviceAccount.name -}}
{{- end -}}

{{- define "hookkeeper.gate.subjects" -}}
- kind: ServiceAccount
  name: {{ include "hookkeeper.gate.serviceAccountName" . }}
  namespace: {{ .Release.Namespace }}
{{- end -}}

{{/* On OpenShift the SCC `restricted-v2` gives each namespace a range of UIDs and refuses every other. */}}
{{- define "hookkeeper.userIsAssigned" -}}
{{- $detected := .Capabilities.APIVersions.Has "security.openshift.io/v1" -}}
{{- ternary $detected .Values.openshift (eq (toString .Values.openshift) "auto") -}}
{{- end -}}

{{/* Takes the context and a security context of a pod or a container. */}}
{{- define "hookkeeper.securityContext" -}}
{{- $given := index . 1 -}}
{{- if eq (include "hookkeeper.userIsAssigned" (index . 0)) "true" -}}
{{- $given = omit $given "runAsUser" "runAsGroup" "fsGroup" "supplementalGroups" -}}
{{- end -}}
{{- with $given }}
{{- toYaml . -}}
{{- end -}}
{{- end -}}

{{/* How the names are resolved that a pod asks for. */}}
{{- define "hookkeeper.dns" -}}
{{- with .Values.dnsPolicy }}
dnsPolicy: {{ . }}
{{- end }}
{{- with .Values.dnsConfig }}
dnsConfig:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Where the pod has the certificates of `ca` and the credentials of `proxy`. */}}
{{- define "hookkeeper.ca.file" -}}
{{- if or .Values.ca.configMap .Values.ca.secret -}}
/etc/hookkeeper/ca/{{ .Values.ca.key }}
{{- else -}}
{{ .Values.ca.file }}
{{- end -}}
{{- end -}}

{{- define "hookkeeper.proxy.credentialsFile" -}}
{{- if .Values.proxy.credentialsSecret.name -}}
/etc/hookkeeper/proxy/{{ .Values.proxy.credentialsSecret.key }}
{{- end -}}
{{- end -}}

{{/* Folders, not single files: Kubernetes keeps those up to date while the pod runs. */}}
{{- define "hookkeeper.volumes" -}}
{{- $volumes := list -}}
{{- with .Values.ca -}}
{{- $items := list (dict "key" .key "path" .key) -}}
{{- if .configMap -}}
{{- $volumes = append $volumes (dict "name" "hookkeeper-ca" "configMap" (dict "name" .configMap "items" $items)) -}}
{{- else if .secret -}}
{{- $volumes = append $volumes (dict "name" "hookkeeper-ca" "secret" (dict "secretName" .secret "items" $items)) -}}
{{- end -}}
{{- end -}}
{{- with .Values.proxy.credentialsSecret -}}
{{- if .name -}}
{{- $items := list (dict "key" .key "path" .key) -}}
{{- $volumes = append $volumes (dict "name" "hookkeeper-proxy" "secret" (dict "secretName" .name "items" $items)) -}}
{{- end -}}
{{- end -}}
{{- with concat $volumes .Values.extraVolumes }}
{{- toYaml . -}}
{{- end -}}
{{- end -}}

{{- define "hookkeeper.volumeMounts" -}}
{{- $mounts := list -}}
{{- if or .Values.ca.configMap .Values.ca.secret -}}
{{- $mounts = append $mounts (dict "name" "hookkeeper-ca" "mountPath" "/etc/hookkeeper/ca" "readOnly" true) -}}
{{- end -}}
{{- if .Values.proxy.credentialsSecret.name -}}
{{- $mounts = append $mounts (dict "name" "hookkeeper-proxy" "mountPath" "/etc/hookkeeper/proxy" "readOnly" true) -}}
{{- end -}}
{{- with concat $mounts .Values.extraVolumeMounts }}
{{- toYaml . -}}
{{- end -}}
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
{{- if .Values.gate.enabled -}}
{{- include "hookkeeper.gate.check" . -}}
{{- end -}}
{{- include "hookkeeper.gate.checkVolumes" . -}}
{{- $places := list -}}
{{- with .Values.ca -}}
{{- $places = compact (list .file .configMap .secret) -}}
{{- end -}}
{{- if gt (len $places) 1 -}}
{{- fail "ca: only one of ca.file, ca.configMap and ca.secret can be set" -}}
{{- end -}}
{{- if and .Values.proxy.credentialsSecret.name (not .Values.proxy.url) -}}
{{- fail "proxy.credentialsSecret is set, but proxy.url is empty" -}}
{{- end -}}
{{- $nameservers := (.Values.dnsConfig).nameservers -}}
{{- if and (eq .Values.dnsPolicy "None") (not $nameservers) -}}
{{- fail "dnsPolicy: None needs dnsConfig.nameservers" -}}
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
