{{/* Labels of every object. Of them, app.kubernetes.io/part-of is kustomize's too. */}}
{{- define "testkit.labels" -}}
app.kubernetes.io/part-of: testkit
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version | replace "+" "_" }}
{{- end }}

{{/* By these the Deployment knows its pods. They cannot be changed later, and are kustomize's too. */}}
{{- define "testkit.selector" -}}
app.kubernetes.io/name: testkit-operator
{{- end }}

{{- define "testkit.image" -}}
{{ .Values.image.repository }}{{ if .Values.image.digest }}@{{ .Values.image.digest }}{{ else }}:{{ .Values.image.tag | default .Chart.AppVersion }}{{ end }}
{{- end }}

{{/* Of the pods; empty for none. */}}
{{- define "testkit.priorityClass" -}}
{{- if .Values.priorityClassName }}{{ .Values.priorityClassName }}{{ else if gt (int .Values.replicas) 1 }}testkit-operator{{ end }}
{{- end }}

{{/* One document of a file that kustomize reads too, as an object of this release: `object`, and `root` for the release. */}}
{{- define "testkit.object" -}}
{{- $object := .object }}
{{- $labels := merge (include "testkit.labels" .root | fromYaml) ($object.metadata.labels | default dict) }}
{{- $_ := set $object.metadata "labels" $labels }}
{{- if has $object.kind (list "Role" "RoleBinding" "ConfigMap" "NetworkPolicy") }}
{{- $_ := set $object.metadata "namespace" .root.Release.Namespace }}
{{- end }}
{{- range $object.subjects }}
{{- if eq .kind "ServiceAccount" }}{{ $_ := set . "namespace" $.root.Release.Namespace }}{{ end }}
{{- end }}
---
{{ toYaml $object }}
{{- end }}

{{/* The documents of a file of deploy/base or crds, as JSON: a template gives text only. */}}
{{- define "testkit.documents" -}}
{{- $all := list }}
{{- range regexSplit "(?m)^---$" (required (printf "the chart has no %s: package it from a whole checkout" .file) (.root.Files.Get .file)) -1 }}
{{- $object := fromYaml . }}
{{- if $object.Error }}{{ fail (printf "%s: %s" $.file $object.Error) }}{{ end }}
{{- if $object }}{{ $all = append $all $object }}{{ end }}
{{- end }}
{{- dict "items" $all | toJson }}
{{- end }}

{{/* Of the metadata of what is there only while `helm uninstall` deletes clusters. */}}
{{- define "testkit.hook" }}
  labels:
    app.kubernetes.io/name: testkit-operator-uninstall
    {{- include "testkit.labels" . | nindent 4 }}
  annotations:
    helm.sh/hook: pre-delete
    helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
{{- end }}
