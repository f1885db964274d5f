{{- define "hookkeeper.gate.args" -}}
{{- $gate := .Values.gate -}}
- gate
{{- range $gate.namespaces }}
- --namespace={{ . }}
{{- end }}
{{- with .Values.scope.selector }}
- {{ printf "--selector=%s" . | quote }}
{{- end }}
- --lease-namespace={{ .Release.Namespace }}
{{- if eq $gate.store "SQLite" }}
- --data=/var/lib/hookkeeper
{{- if $gate.persistence.mayVanish }}
- --data-may-vanish
{{- end }}
{{- else }}
{{- with $gate.database }}
- {{ printf "--database=%s" (include "hookkeeper.gate.database" .) | quote }}
- --database-user-file=/etc/hookkeeper/database/{{ .credentials.userKey }}
- --database-password-file=/etc/hookkeeper/database/{{ .credentials.passwordKey }}
{{- if or .ca.configMap .ca.secret }}
- --database-ca-file=/etc/hookkeeper/database-ca/{{ .ca.key }}
{{- end }}
- --database-tls={{ ternary "disable" "verify-full" (eq .tls "Disable") }}
- --database-connections={{ .connections }}
{{- end }}
{{- end }}
- {{ printf "--listen=%s:8090" .Values.listenAddress | quote }}
{{- if $gate.expect.enabled }}
- {{ printf "--expect-listen=%s:8091" .Values.listenAddress | quote }}
{{- end }}
- {{ printf "--admin-listen=%s:%v" .Values.listenAddress .Values.metrics.port | quote }}
{{- with $gate.dataKey }}
{{- if .secret }}
- --data-key-file=/etc/hookkeeper/data-key/{{ .key }}
{{- with .previousKey }}
- --data-key-file=/etc/hookkeeper/data-key/{{ . }}
{{- end }}
{{- end }}
{{- end }}
{{- if $gate.allowClearBodies }}
- --allow-clear-bodies
{{- end }}
{{- with $gate.publicUrl }}
- {{ printf "--public-url=%s" . | quote }}
{{- end }}
{{- range $gate.trustedProxies }}
- {{ printf "--trusted-proxy=%s" . | quote }}
{{- end }}
{{- range $gate.allowPaths }}
- {{ printf "--allow-path=%s" . | quote }}
{{- end }}
{{- if $gate.tls.secret }}
- --tls-cert=/etc/hookkeeper/tls/tls.crt
- --tls-key=/etc/hookkeeper/tls/tls.key
{{- end }}
- --log-format={{ .Values.log.format }}
- {{ printf "--log-level=%s" .Values.log.level | quote }}
{{- if .Values.log.allowLevelChanges }}
- --allow-log-level-changes
{{- end }}
{{- range $gate.egress.allow }}
- {{ printf "--allow-destination=%s" . | quote }}
{{- end }}
{{- with include "hookkeeper.ca.file" . }}
- {{ printf "--ca-file=%s" . | quote }}
{{- end }}
{{- with .Values.proxy.url }}
- {{ printf "--proxy=%s" . | quote }}
{{- end }}
{{- with include "hookkeeper.proxy.credentialsFile" . }}
- {{ printf "--proxy-credentials-file=%s" . | quote }}
{{- end }}
{{- range $gate.extraArgs }}
- {{ . | quote }}
{{- end }}
{{- end -}}

{{/* HOST:PORT[,HOST:PORT]/NAME */}}
{{- define "hookkeeper.gate.database" -}}
{{- $hosts := list -}}
{{- range splitList "," .host -}}
{{- $host := ternary (printf "[%s]" .) . (contains ":" .) -}}
{{- $hosts = append $hosts (printf "%s:%v" $host $.port) -}}
{{- end -}}
{{- join "," $hosts }}/{{ .name -}}
{{- end -}}

{{/* What the process reads from mounted Secrets, besides what every pod of ours has. */}}
{{- define "hookkeeper.gate.volumes" -}}
{{- $gate := .Values.gate -}}
{{- $volumes := list -}}
{{- if and (eq $gate.store "SQLite") $gate.persistence.mayVanish -}}
{{- $volumes = append $volumes (dict "name" "deliveries" "emptyDir" (dict "sizeLimit" $gate.persistence.size)) -}}
{{- end -}}
{{- if eq $gate.store "PostgreSQL" -}}
{{- with $gate.database -}}
{{- $items := list -}}
{{- range list .credentials.userKey .credentials.passwordKey -}}
{{- $items = append $items (dict "key" . "path" .) -}}
{{- end -}}
{{- $secret := dict "secretName" .credentials.secret "items" $items "defaultMode" 288 -}}
{{- $volumes = append $volumes (dict "name" "database" "secret" $secret) -}}
{{- $items := list (dict "key" .ca.key "path" .ca.key) -}}
{{- if .ca.configMap -}}
{{- $volumes = append $volumes (dict "name" "database-ca" "configMap" (dict "name" .ca.configMap "items" $items)) -}}
{{- else if .ca.secret -}}
{{- $volumes = append $volumes (dict "name" "database-ca" "secret" (dict "secretName" .ca.secret "items" $items)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- with $gate.dataKey -}}
{{- if .secret -}}
{{- $items := list -}}
{{- range compact (list .key .previousKey) -}}
{{- $items = append $items (dict "key" . "path" .) -}}
{{- end -}}
{{- $secret := dict "secretName" .secret "items" $items "defaultMode" 288 -}}
{{- $volumes = append $volumes (dict "name" "data-key" "secret" $secret) -}}
{{- end -}}
{{- end -}}
{{- with $gate.tls.secret -}}
{{- $volumes = append $volumes (dict "name" "tls" "secret" (dict "secretName" . "defaultMode" 288)) -}}
{{- end -}}
{{- with include "hookkeeper.volumes" . -}}
{{- $volumes = concat $volumes (fromYamlArray .) -}}
{{- end -}}
{{- with $volumes }}
{{- toYaml . -}}
{{- end -}}
{{- end -}}

{{- define "hookkeeper.gate.volumeMounts" -}}
{{- $gate := .Values.gate -}}
{{- $mounts := list -}}
{{- if eq $gate.store "SQLite" -}}
{{- $mounts = append $mounts (dict "name" "deliveries" "mountPath" "/var/lib/hookkeeper") -}}
{{- else -}}
{{- $mounts = append $mounts (dict "name" "database" "mountPath" "/etc/hookkeeper/database" "readOnly" true) -}}
{{- if or $gate.database.ca.configMap $gate.database.ca.secret -}}
{{- $mounts = append $mounts (dict "name" "database-ca" "mountPath" "/etc/hookkeeper/database-ca" "readOnly" true) -}}
{{- end -}}
{{- end -}}
{{- if $gate.dataKey.secret -}}
{{- $mounts = append $mounts (dict "name" "data-key" "mountPath" "/etc/hookkeeper/data-key" "readOnly" true) -}}
{{- end -}}
{{- if $gate.tls.secret -}}
{{- $mounts = append $mounts (dict "name" "tls" "mountPath" "/etc/hookkeeper/tls" "readOnly" true) -}}
{{- end -}}
{{- with include "hookkeeper.volumeMounts" . -}}
{{- $mounts = concat $mounts (fromYamlArray .) -}}
{{- end -}}
{{- with $mounts }}
{{- toYaml . -}}
{{- end -}}
{{- end -}}

{{- define "hookkeeper.gate.check" -}}
{{- $gate := .Values.gate -}}
{{- if not $gate.namespaces -}}
{{- fail "gate.namespaces: name the namespaces whose receivers the gate serves, at least one; it gets the right to read Secrets there and nowhere else" -}}
{{- end -}}
{{- range $gate.namespaces -}}
{{- if and $.Values.scope.namespaces (not (has . $.Values.scope.namespaces)) -}}
{{- fail (printf "gate.namespaces: %q is not in scope.namespaces, and the operator judges the receivers there" .) -}}
{{- end -}}
{{- end -}}
{{- range $gate.allowPaths -}}
{{- if not (has (first (splitList "=" .)) $gate.namespaces) -}}
{{- fail (printf "gate.allowPaths: the namespace of %q is not in gate.namespaces" .) -}}
{{- end -}}
{{- end -}}
{{- if eq $gate.store "SQLite" -}}
{{- if $gate.database.host -}}
{{- fail "gate.database.host is set, but gate.store is SQLite; set gate.store to PostgreSQL" -}}
{{- end -}}
{{- if kindIs "invalid" $gate.replicas -}}
{{- fail "gate.replicas: null leaves the number to an autoscaler, which would take a pod away while deliveries wait on its volume; give a number, or set gate.store to PostgreSQL" -}}
{{- end -}}
{{- else -}}
{{- if not $gate.database.host -}}
{{- fail "gate.store is PostgreSQL, but gate.database.host is empty" -}}
{{- end -}}
{{- if not $gate.database.credentials.secret -}}
{{- fail "gate.store is PostgreSQL, but gate.database.credentials.secret names no Secret with user and password" -}}
{{- end -}}
{{- if and $gate.database.ca.configMap $gate.database.ca.secret -}}
{{- fail "gate.database.ca: only one of configMap and secret can be set" -}}
{{- end -}}
{{- if and (eq $gate.database.tls "Disable") (or $gate.database.ca.configMap $gate.database.ca.secret) -}}
{{- fail "gate.database.ca says who may sign the server's certificate, and with gate.database.tls: Disable there is none" -}}
{{- end -}}
{{- if $gate.persistence.mayVanish -}}
{{- fail "gate.persistence.mayVanish is about a volume, but gate.store is PostgreSQL" -}}
{{- end -}}
{{- end -}}
{{- if and $gate.dataKey.previousKey (not $gate.dataKey.secret) -}}
{{- fail "gate.dataKey.previousKey is set, but gate.dataKey.secret is empty" -}}
{{- end -}}
{{- if and $gate.ingress.enabled (not $gate.ingress.host) -}}
{{- fail "gate.ingress.enabled needs gate.ingress.host" -}}
{{- end -}}
{{- if and $gate.httpRoute.enabled (not $gate.httpRoute.parentRefs) -}}
{{- fail "gate.httpRoute.enabled needs gate.httpRoute.parentRefs: the Gateway that it belongs to" -}}
{{- end -}}
{{- if and $gate.service.externalTrafficPolicy (eq $gate.service.type "ClusterIP") -}}
{{- fail "gate.service.externalTrafficPolicy is for a Service of type LoadBalancer or NodePort" -}}
{{- end -}}
{{- end -}}

{{/*
What waits on the volume of a pod that goes is read by nobody. Helm knows how many there are when it asks the
cluster; without one (`helm template`) there is nothing to compare with.
*/}}
{{- define "hookkeeper.gate.checkVolumes" -}}
{{- $gate := .Values.gate -}}
{{- $name := include "hookkeeper.gate.fullname" . -}}
{{- $there := lookup "apps/v1" "StatefulSet" .Release.Namespace $name -}}
{{- $keeps := and $there (get $there.spec "volumeClaimTemplates") -}}
{{- if and $keeps (not $gate.persistence.allowScaleDown) -}}
{{- $now := int ($there.spec.replicas) -}}
{{- $next := ternary (int $gate.replicas) 0 (and $gate.enabled (eq $gate.store "SQLite") (not $gate.persistence.mayVanish)) -}}
{{- if lt $next $now -}}
{{- $last := sub $now 1 -}}
{{- fail (printf "gate: %d pods with a volume would remain of %d, and nobody would read what waits on the other volumes. Look first whether anything waits, for each pod that would go: kubectl -n %s exec %s-%d -- /hookkeeper deliveries list. Then set gate.persistence.allowScaleDown=true for this upgrade" $next $now .Release.Namespace $name $last) -}}
{{- end -}}
{{- end -}}
{{- end -}}
