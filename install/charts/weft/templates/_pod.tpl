{{/* weft.security: what every container of ours may do, which is little. */}}
{{- define "weft.security" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsNonRoot: true
capabilities: {drop: [ALL]}
{{- end }}

{{/* weft.podSecurity: the argument is the user and group. The group owns the
projected tokens, which would be root's alone otherwise. */}}
{{- define "weft.podSecurity" -}}
runAsNonRoot: true
runAsUser: {{ . }}
runAsGroup: {{ . }}
fsGroup: {{ . }}
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{/* weft.scheduling: where pods go. The argument is (list values labels):
replicas are kept apart by default, but may share the only node. */}}
{{- define "weft.scheduling" -}}
{{- $v := index . 0 -}}
{{- with $v.nodeSelector }}
nodeSelector: {{ toJson . }}
{{- end }}
{{- with $v.tolerations }}
tolerations: {{ toJson . }}
{{- end }}
affinity:
{{- if $v.affinity }}
  {{- toYaml $v.affinity | nindent 2 }}
{{- else }}
  podAntiAffinity:
    preferredDuringSchedulingIgnoredDuringExecution:
      - weight: 100
        podAffinityTerm:
          topologyKey: kubernetes.io/hostname
          labelSelector: {matchLabels: {{ toJson (index . 1) }}}
{{- end }}
{{- end }}

{{/* weft.identityVolumes: the token that proves the pod to the CA, and the
roots that the CA publishes. Names and paths are Istio's. */}}
{{- define "weft.identityVolumes" -}}
- name: istio-token
  projected:
    sources:
      - serviceAccountToken: {audience: istio-ca, expirationSeconds: 43200, path: istio-token}
- name: istio-ca-root-cert
  configMap: {name: istio-ca-root-cert}
{{- end }}

{{- define "weft.identityMounts" -}}
- {name: istio-token, mountPath: /var/run/secrets/tokens, readOnly: true}
- {name: istio-ca-root-cert, mountPath: /var/run/secrets/istio, readOnly: true}
{{- end }}

{{/* weft.podEnv: who the pod is. */}}
{{- define "weft.podEnv" -}}
- name: POD_NAME
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
- name: POD_NAMESPACE
  valueFrom: {fieldRef: {fieldPath: metadata.namespace}}
- name: SERVICE_ACCOUNT
  valueFrom: {fieldRef: {fieldPath: spec.serviceAccountName}}
- name: CLUSTER_ID
  value: {{ .Values.clusterName | quote }}
{{- end }}

{{/* weft.identityArgs: how a component reaches the CA. */}}
{{- define "weft.identityArgs" -}}
- --ca=weft-ca.{{ .Release.Namespace }}.svc:15012
- --root-cert=/var/run/secrets/istio/root-cert.pem
- --token=/var/run/secrets/tokens/istio-token
{{- end }}

{{/* weft.disruption: a PodDisruptionBudget where there is more than one
replica; with one it would only stop a node from being drained. The argument is
(dict root component name replicas selector). */}}
{{- define "weft.disruption" -}}
{{- if gt (int .replicas) 1 }}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ .name }}
  namespace: {{ .root.Release.Namespace }}
  labels: {{- include "weft.labels" (list .root .component) | nindent 4 }}
spec:
  maxUnavailable: 1
  selector: {matchLabels: {{ toJson .selector }}}
{{- end }}
{{- end }}
