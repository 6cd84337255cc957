{{/* Stops where the objects would be rejected, or would not do what the values say. */}}
{{- define "ndots.mistakes" -}}
{{- if and .Values.hpa.enabled .Values.autoscaler.enabled -}}
{{- fail "hpa.enabled and autoscaler.enabled are both true, and both would set the number of Pods. Set one of them to false." -}}
{{- end -}}
{{- if and (eq .Values.kind "DaemonSet") (or .Values.hpa.enabled .Values.autoscaler.enabled) -}}
{{- fail "kind is DaemonSet, which has one Pod on each node. Set hpa.enabled and autoscaler.enabled to false." -}}
{{- end -}}
{{- if and .Values.isClusterService (eq .Values.deployment.dnsPolicy "None") (not .Values.deployment.dnsConfig) -}}
{{- fail "deployment.dnsPolicy is None, which needs name servers. Set deployment.dnsConfig.nameservers." -}}
{{- end -}}
{{- range .Values.servers -}}{{- range .plugins -}}{{- if not .name -}}
{{- fail "a plugin in servers has no name. Write `- name: PLUGIN`, and its arguments as `parameters`." -}}
{{- end -}}{{- end -}}{{- end -}}
{{- end }}
