{{/*
Values such as `affinity` may contain templates, and those that were written for CoreDNS's chart use
the names `coredns.name`, `coredns.fullname`, `coredns.k8sapplabel` and `coredns.labels`.
*/}}
{{- define "coredns.name" -}}
{{ .Values.nameOverride | default "coredns" | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "coredns.fullname" -}}
{{- $name := .Values.nameOverride | default "coredns" -}}
{{- $full := printf "%s-%s" .Release.Name $name -}}
{{- if or (contains $name .Release.Name) (contains "ndots" .Release.Name) -}}
{{- $full = .Release.Name -}}
{{- end -}}
{{ .Values.fullnameOverride | default $full | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "coredns.k8sapplabel" -}}
{{ .Values.k8sAppLabelOverride | default "coredns" | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "coredns.serviceAccountName" -}}
{{- $other := "default" -}}
{{- if include "ndots.createsAccount" . }}{{ $other = include "coredns.fullname" . }}{{ end -}}
{{ .Values.serviceAccount.name | default $other }}
{{- end }}

{{- define "coredns.clusterRoleName" -}}
{{ .Values.clusterRole.nameOverride | default (include "coredns.fullname" .) }}
{{- end }}

{{/* The labels that select Pods. They cannot change, so they equal those of CoreDNS's chart. */}}
{{- define "ndots.selector" -}}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/name: {{ include "coredns.name" . | quote }}
{{- if .Values.isClusterService }}
k8s-app: {{ include "coredns.k8sapplabel" . | quote }}
{{- end }}
{{- end }}

{{/* The labels that every Pod must have: those of the workload's selector, too. */}}
{{- define "ndots.podSelector" -}}
{{ merge (deepCopy ((.Values.deployment.selector | default dict).matchLabels | default dict)) (include "ndots.selector" . | fromYaml) | toYaml }}
{{- end }}

{{- define "ndots.chartLabels" -}}
app.kubernetes.io/managed-by: {{ .Release.Service | quote }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | quote }}
{{- if .Values.isClusterService }}
kubernetes.io/cluster-service: "true"
kubernetes.io/name: CoreDNS
{{- end }}
{{- end }}

{{/* Labels of every object. No key is written twice, and selectors find what they select. */}}
{{- define "coredns.labels" -}}
{{ merge (include "ndots.selector" . | fromYaml) (.Values.customLabels | default dict) (include "ndots.chartLabels" . | fromYaml) | toYaml }}
{{- end }}

{{- define "ndots.autoscalerSelector" -}}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/name: {{ include "coredns.name" . }}-autoscaler
{{- if .Values.isClusterService }}
k8s-app: {{ include "coredns.k8sapplabel" . }}-autoscaler
{{- end }}
{{- end }}

{{- define "ndots.autoscalerLabels" -}}
{{ merge (include "ndots.autoscalerSelector" . | fromYaml) (.Values.customLabels | default dict) (include "ndots.chartLabels" . | fromYaml) | toYaml }}
{{- end }}

{{/* `annotations:` of an object: `list ROOT MAP…`. The first map that has a key wins. */}}
{{- define "ndots.annotations" -}}
{{- $all := dict -}}
{{- range rest . -}}{{- $all = merge $all (. | default dict) -}}{{- end -}}
{{- $all = merge $all ((first .).Values.customAnnotations | default dict) -}}
{{- with $all }}
annotations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Not empty if the chart creates the ServiceAccount. */}}
{{- define "ndots.createsAccount" -}}
{{- $create := .Values.serviceAccount.create -}}
{{- if kindIs "bool" $create -}}
{{- if $create }}true{{ end -}}
{{- else if not .Values.serviceAccount.name -}}
true
{{- end -}}
{{- end }}

{{- define "ndots.configMapName" -}}
{{ .Values.deployment.configMapName | default (include "coredns.fullname" .) }}
{{- end }}

{{- define "ndots.workloadName" -}}
{{ .Values.deployment.name | default (include "coredns.fullname" .) }}
{{- end }}

{{/* A value as text. Numbers of a values file are floating-point, which prints 1000000 as 1e+06. */}}
{{- define "ndots.text" -}}
{{- if and (kindIs "float64" .) (eq (floor .) .) }}{{ int64 . }}{{ else }}{{ . }}{{ end -}}
{{- end }}

{{/* The port in the address of a plugin's parameters: `list ROOT PLUGIN DEFAULT`. */}}
{{- define "ndots.pluginPort" -}}
{{- $root := first . -}}{{- $plugin := index . 1 -}}{{- $port := index . 2 -}}
{{- range $root.Values.servers -}}
{{- range .plugins -}}
{{- if eq .name $plugin -}}
{{- with regexFind ":[0-9]+" (toString .parameters) }}{{ $port = trimPrefix ":" . }}{{ end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{ $port }}
{{- end }}

{{/* Not empty if a server block has this plugin: `list ROOT PLUGIN`. */}}
{{- define "ndots.hasPlugin" -}}
{{- $plugin := index . 1 -}}
{{- range (first .).Values.servers -}}{{- range .plugins -}}
{{- if eq .name $plugin }}true{{ end -}}
{{- end -}}{{- end -}}
{{- end }}

{{/*
What the server blocks listen on, as `{ items: [{ port, protocol, service, node, host }] }`. Blocks
on the same port share an item of each protocol.
*/}}
{{- define "ndots.listeners" -}}
{{- $balanced := eq .Values.serviceType "LoadBalancer" -}}
{{- $items := list -}}{{- $seen := dict -}}
{{- range $server := .Values.servers -}}
{{- $port := .port | default 53 | int -}}
{{- $zones := .zones | default (list dict) -}}
{{- $protocols := dict -}}
{{- range $zones -}}
{{- $scheme := .scheme | default "dns://" -}}
{{- if eq $scheme "dns://" -}}
{{- $_ := set $protocols "UDP" true -}}
{{- $tcp := ternary .use_tcp (not $balanced) (kindIs "bool" .use_tcp) -}}
{{- if $tcp }}{{ $_ := set $protocols "TCP" true }}{{ end -}}
{{- else if has $scheme (list "quic://" "https3://") -}}
{{- $_ := set $protocols "UDP" true -}}
{{- else -}}
{{- $_ := set $protocols "TCP" true -}}
{{- end -}}
{{- end -}}
{{- range $protocol := list "UDP" "TCP" -}}
{{- $key := printf "%s-%d" (lower $protocol) $port -}}
{{- if and (hasKey $protocols $protocol) (not (hasKey $seen $key)) -}}
{{- $_ := set $seen $key true -}}
{{- $service := $server.servicePort | default $port | int -}}
{{- $item := dict "name" $key "port" $port "protocol" $protocol "service" $service "node" ($server.nodePort | default 0 | int) "host" ($server.hostPort | default 0 | int) -}}
{{- $items = append $items $item -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- dict "items" $items | toJson -}}
{{- end }}

{{- define "ndots.corefile" -}}
{{- range $name, $directive := .Values.extraConfig -}}
{{ $name }}{{ with $directive.parameters }} {{ include "ndots.text" . }}{{ end }}{{ with $directive.configBlock }} {
{{ trimSuffix "\n" . | indent 4 }}
}{{ end }}
{{ end }}
{{- range $server := .Values.servers -}}
{{- $keys := list -}}
{{- range .zones | default (list dict) -}}
{{- $key := printf "%s%s" (.scheme | default "") (.zone | default ".") -}}
{{- with $server.port }}{{ $key = printf "%s:%s" $key (include "ndots.text" .) }}{{ end -}}
{{- $keys = append $keys $key -}}
{{- end -}}
{{ join " " $keys }} {
{{- range .plugins }}
    {{ .name }}{{ if not (kindIs "invalid" .parameters) }}{{ with include "ndots.text" .parameters }} {{ . }}{{ end }}{{ end }}{{ with .configBlock }} {
{{ trimSuffix "\n" . | indent 8 }}
    }{{ end }}
{{- end }}
}
{{ end -}}
{{- end }}

{{- define "ndots.image" -}}
{{- $image := printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion | toString) -}}
{{- with .Values.image.digest }}{{ $image = printf "%s@%s" $image . }}{{ end -}}
{{ $image }}
{{- end }}

{{- define "ndots.version" -}}
{{ regexReplaceAll "[^A-Za-z0-9._-]+" (.Values.image.tag | default .Chart.AppVersion | toString) "_" | trunc 63 | trimAll "-_." }}
{{- end }}

{{/* The numbers of a probe without its switch, and nothing that a values file set to null. */}}
{{- define "ndots.probe" -}}
{{- range $key, $value := omit . "enabled" }}{{ if not (kindIs "invalid" $value) }}
{{ $key }}: {{ $value }}
{{- end }}{{ end }}
{{- end }}
