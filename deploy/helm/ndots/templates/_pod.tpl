{{/* The Pod template of the Deployment and of the DaemonSet. */}}
{{- define "ndots.pod" -}}
{{- $labels := merge (include "ndots.podSelector" . | fromYaml) (.Values.podLabels | default dict) (.Values.customLabels | default dict) -}}
{{- $checksum := dict "checksum/config" (include "ndots.corefile" . | cat (toJson .Values.zoneFiles) | sha256sum) -}}
metadata:
  labels: {{- toYaml $labels | nindent 4 }}
  annotations: {{- merge (deepCopy (.Values.podAnnotations | default dict)) $checksum | toYaml | nindent 4 }}
spec:
  serviceAccountName: {{ include "coredns.serviceAccountName" . }}
  {{- if eq (toString .Values.automountServiceAccountToken) "false" }}
  automountServiceAccountToken: false
  {{- end }}
  {{- with .Values.priorityClassName }}
  priorityClassName: {{ . | quote }}
  {{- end }}
  {{- if .Values.isClusterService }}
  dnsPolicy: {{ .Values.deployment.dnsPolicy }}
  {{- else if .Values.hostNetwork }}
  dnsPolicy: ClusterFirstWithHostNet
  {{- end }}
  {{- with .Values.deployment.dnsConfig }}
  dnsConfig: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- if .Values.hostNetwork }}
  hostNetwork: true
  {{- end }}
  {{- with .Values.terminationGracePeriodSeconds }}
  terminationGracePeriodSeconds: {{ include "ndots.text" . }}
  {{- end }}
  {{- with .Values.podSecurityContext }}
  securityContext: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.affinity }}
  affinity: {{- tpl (toYaml .) $ | nindent 4 }}
  {{- end }}
  {{- with .Values.topologySpreadConstraints }}
  topologySpreadConstraints: {{- tpl (toYaml .) $ | nindent 2 }}
  {{- end }}
  {{- with .Values.tolerations }}
  tolerations: {{- toYaml . | nindent 2 }}
  {{- end }}
  {{- with .Values.nodeSelector }}
  nodeSelector: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.image.pullSecrets }}
  imagePullSecrets: {{- toYaml . | nindent 2 }}
  {{- end }}
  {{- with .Values.initContainers }}
  initContainers: {{- toYaml . | nindent 2 }}
  {{- end }}
  containers:
  - name: coredns
    image: {{ include "ndots.image" . | quote }}
    imagePullPolicy: {{ .Values.image.pullPolicy }}
    args: {{- concat (list "-conf" "/etc/coredns/Corefile") (.Values.extraArgs | default list) | toYaml | nindent 4 }}
    {{- with .Values.env }}
    env: {{- toYaml . | nindent 4 }}
    {{- end }}
    ports:
    {{- range (include "ndots.listeners" . | fromJson).items }}
    - name: {{ .name }}
      containerPort: {{ .port }}
      protocol: {{ .protocol }}
      {{- if .host }}
      hostPort: {{ .host }}
      {{- else if $.Values.hostNetwork }}
      hostPort: {{ .port }}
      {{- end }}
    {{- end }}
    {{- if include "ndots.hasPlugin" (list . "prometheus") }}
    {{- $port := include "ndots.pluginPort" (list . "prometheus" 9153) }}
    - name: tcp-{{ $port }}
      containerPort: {{ $port }}
      protocol: TCP
      {{- if .Values.hostNetwork }}
      hostPort: {{ $port }}
      {{- end }}
    {{- end }}
    {{- if .Values.livenessProbe.enabled }}
    livenessProbe:
      httpGet: { path: /health, port: {{ include "ndots.pluginPort" (list . "health" 8080) }}, scheme: HTTP }
      {{- include "ndots.probe" .Values.livenessProbe | trim | nindent 6 }}
    {{- end }}
    {{- if .Values.readinessProbe.enabled }}
    readinessProbe:
      httpGet: { path: /ready, port: {{ include "ndots.pluginPort" (list . "ready" 8181) }}, scheme: HTTP }
      {{- include "ndots.probe" .Values.readinessProbe | trim | nindent 6 }}
    {{- end }}
    {{- with .Values.preStopSleep }}
    lifecycle: { preStop: { sleep: { seconds: {{ include "ndots.text" . }} } } }
    {{- end }}
    {{- with .Values.resources }}
    resources: {{- toYaml . | nindent 6 }}
    {{- end }}
    {{- with .Values.securityContext }}
    securityContext: {{- toYaml . | nindent 6 }}
    {{- end }}
    volumeMounts:
    - { name: config-volume, mountPath: /etc/coredns }
    {{- if .Values.snapshotVolume }}
    - { name: snapshot, mountPath: /var/lib/ndots }
    {{- end }}
    {{- range .Values.extraSecrets }}
    - { name: {{ .name }}, mountPath: {{ .mountPath }}, readOnly: true }
    {{- end }}
    {{- with .Values.extraVolumeMounts }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with .Values.extraContainers }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
  volumes:
  - name: config-volume
    configMap:
      name: {{ include "ndots.configMapName" . }}
      items:
      - { key: Corefile, path: Corefile }
      {{- range .Values.zoneFiles }}
      - { key: {{ .filename }}, path: {{ .filename }} }
      {{- end }}
  {{- with .Values.snapshotVolume }}
  - name: snapshot
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- range .Values.extraSecrets }}
  - name: {{ .name }}
    secret:
      secretName: {{ .name }}
      defaultMode: {{ .defaultMode | default 420 | int }}
  {{- end }}
  {{- with .Values.extraVolumes }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}
