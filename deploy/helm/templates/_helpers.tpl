{{- define "server.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "server.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" }}
{{- else if contains (include "server.name" .) .Release.Name }}
{{- .Release.Name | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "server.name" .) | trunc 63 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "server.selectorLabels" -}}
app.kubernetes.io/name: {{ include "server.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "server.labels" -}}
{{ include "server.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* What every object begins its metadata with. */}}
{{- define "server.metadata" -}}
name: {{ include "server.fullname" . }}
namespace: {{ .Release.Namespace }}
labels:
  {{- include "server.labels" . | nindent 2 }}
{{- end }}

{{- define "server.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "server.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "server.image" -}}
{{- with .Values.image }}
{{- if .digest }}
{{- printf "%s@%s" .repository .digest }}
{{- else }}
{{- printf "%s:%s" .repository (default $.Chart.AppVersion .tag) }}
{{- end }}
{{- end }}
{{- end }}

{{/* The settings as in config.yaml, with what follows from other values. */}}
{{- define "server.settings" -}}
{{- $settings := deepCopy .Values.settings }}
{{- if and .Values.modelVolume (not $settings.models) (not (dig "model" "path" "" $settings)) }}
{{- $settings = mergeOverwrite $settings (dict "model" (dict "path" "/mnt/models")) }}
{{- end }}
{{- if .Values.tls.secretName }}
{{- $files := dict "tls_cert" "/etc/tls/tls.crt" "tls_key" "/etc/tls/tls.key" }}
{{- $settings = mergeOverwrite $settings (dict "http" $files) }}
{{- end }}
{{- toYaml $settings }}
{{- end }}

{{- define "server.port" -}}
{{- dig "http" "port" 8888 .Values.settings | int }}
{{- end }}

{{/* http or https */}}
{{- define "server.scheme" -}}
{{- if include "server.settings" . | fromYaml | dig "http" "tls_cert" "" }}https{{ else }}http{{ end }}
{{- end }}

{{/* The longest shutdown of the service, and 15 s to write the last lines of the log. */}}
{{- define "server.terminationGracePeriodSeconds" -}}
{{- $grace := dig "http" "drain_grace_ms" 1000 .Values.settings | float64 }}
{{- $drain := dig "http" "drain_timeout_s" 30 .Values.settings | float64 }}
{{- addf (divf $grace 1000) $drain 15 | ceil | int }}
{{- end }}

{{/* The longest start, and a minute to get a node, the image and the volumes. */}}
{{- define "server.progressDeadlineSeconds" -}}
{{- addf (dig "model" "load_timeout_s" 600 .Values.settings | float64) 60 | ceil | int }}
{{- end }}

{{- define "server.probe" -}}
httpGet:
  path: {{ .path }}
  port: http
  scheme: {{ include "server.scheme" .root | upper }}
{{- end }}
