{{/* weft.suffix is what names end in: nothing for the default revision. */}}
{{- define "weft.suffix" -}}
{{- if ne .Values.revision "default" }}-{{ .Values.revision }}{{ end -}}
{{- end }}

{{/* weft.home is the suffix of cluster-wide names that revisions share. */}}
{{- define "weft.home" -}}
{{- if ne .Release.Namespace "weft-system" }}-{{ .Release.Namespace }}{{ end -}}
{{- end }}

{{/* weft.isDefault says "true" for the one revision that serves what names none. */}}
{{- define "weft.isDefault" -}}
{{- ternary (eq .Values.revision "default") .Values.isDefault (eq "auto" (toString .Values.isDefault)) -}}
{{- end }}

{{/* weft.shared says "true" where what revisions share is rendered: with the
revision that is the default, or where the value says so. The argument is
(list root value). */}}
{{- define "weft.shared" -}}
{{- $root := index . 0 -}}
{{- ternary (eq "true" (include "weft.isDefault" $root)) (index . 1) (eq "auto" (toString (index . 1))) -}}
{{- end }}

{{/* weft.hooks is the suffix of webhook configurations. Those of the revision
that is the default have no name of its own: another that becomes the default
takes them over, with the CA and the gateways, so that no pod is asked about
twice. */}}
{{- define "weft.hooks" -}}
{{- if ne "true" (include "weft.isDefault" .) }}{{ include "weft.suffix" . }}{{ end }}{{ include "weft.home" . -}}
{{- end }}

{{/* weft.cluster is the suffix of names of cluster-wide objects: two installs
in namespaces of their own must not share one. */}}
{{- define "weft.cluster" -}}
{{- include "weft.suffix" . }}{{- if ne .Release.Namespace "weft-system" }}-{{ .Release.Namespace }}{{ end -}}
{{- end }}

{{- define "weft.tag" -}}
{{- .Values.tag | default .Chart.AppVersion -}}
{{- end }}

{{/* weft.labels: of every object. The argument is (list root component). */}}
{{- define "weft.labels" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/part-of: weft
app.kubernetes.io/managed-by: {{ $root.Release.Service | quote }}
app.kubernetes.io/component: {{ index . 1 }}
weft.mesh/system: {{ $root.Release.Namespace }}
app.kubernetes.io/version: {{ include "weft.tag" $root | trunc 63 | quote }}
istio.io/rev: {{ $root.Values.revision }}
{{- end }}

{{/* weft.priority is the priority class of the control plane; a namespace has
none of its own. */}}
{{- define "weft.priority" -}}
{{- .Values.priorityClassName | default (ternary "" (printf "weft-control-plane%s" (include "weft.cluster" .)) (eq .Values.scope "namespace")) -}}
{{- end }}

{{/* weft.rights begins a Role, or a ClusterRole where the scope is the cluster,
and weft.granted binds it to an account. The argument is a dict: root, role
(name of the Role), cluster (of the ClusterRole), account, component. */}}
{{- define "weft.rights" -}}
{{- $one := eq .root.Values.scope "namespace" -}}
apiVersion: rbac.authorization.k8s.io/v1
kind: {{ ternary "Role" "ClusterRole" $one }}
metadata:
  name: {{ ternary .role .cluster $one }}
  {{- if $one }}
  namespace: {{ .root.Release.Namespace }}
  {{- end }}
  labels: {{- include "weft.labels" (list .root .component) | nindent 4 }}
{{- end }}

{{- define "weft.granted" -}}
{{- $one := eq .root.Values.scope "namespace" -}}
apiVersion: rbac.authorization.k8s.io/v1
kind: {{ ternary "RoleBinding" "ClusterRoleBinding" $one }}
metadata:
  name: {{ ternary .role .cluster $one }}
  {{- if $one }}
  namespace: {{ .root.Release.Namespace }}
  {{- end }}
  labels: {{- include "weft.labels" (list .root .component) | nindent 4 }}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: {{ ternary "Role" "ClusterRole" $one }}, name: {{ ternary .role .cluster $one }}}
subjects:
  - {kind: ServiceAccount, name: {{ .account }}, namespace: {{ .root.Release.Namespace }}}
{{- end }}
