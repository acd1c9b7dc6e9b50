{{/* weft.injectorValues: what the injector puts into pods, in the form of
package injector's Values. global.network is read by Kiali as well. */}}
{{- define "weft.injectorValues" -}}
{{- $secrets := list -}}
{{- range .Values.imagePullSecrets }}{{ $secrets = append $secrets .name }}{{ end -}}
{{- dict
  "revision" .Values.revision
  "scope" .Values.scope
  "sidecarInjectorWebhook" (dict "rewriteAppHTTPProbe" .Values.injector.rewriteAppHTTPProbe)
  "global" (dict
    "hub" .Values.hub
    "tag" (include "weft.tag" .)
    "imagePullPolicy" .Values.imagePullPolicy
    "imagePullSecrets" $secrets
    "istioNamespace" .Release.Namespace
    "pilotAddress" (printf "weft-pilot%s.%s.svc:15012" (include "weft.suffix" .) .Release.Namespace)
    "caAddress" (printf "weft-ca.%s.svc:15012" .Release.Namespace)
    "network" .Values.network
    "multiCluster" (dict "clusterName" .Values.clusterName)
    "proxy" .Values.proxy)
  | toPrettyJson }}
{{- end }}

{{/* weft.webhook is one of the webhooks. The argument is a dict: root, name,
namespace (matchExpressions of its namespaces), pod (those of its pods). */}}
{{- define "weft.webhook" -}}
{{- $excluded := concat (list .root.Release.Namespace "kube-system" "kube-public" "kube-node-lease") .root.Values.injector.excludeNamespaces | uniq -}}
- name: {{ .name }}
  admissionReviewVersions: [v1]
  sideEffects: None
  # Once more where another webhook has changed the pod since: twice is as once.
  reinvocationPolicy: IfNeeded
  failurePolicy: {{ .root.Values.injector.failurePolicy }}
  timeoutSeconds: {{ .root.Values.injector.timeoutSeconds }}
  # caBundle is the injector's to fill in, and to keep.
  clientConfig:
    service:
      name: weft-injector{{ include "weft.suffix" .root }}
      namespace: {{ .root.Release.Namespace }}
      path: /inject
      port: 443
  rules:
    - {apiGroups: [""], apiVersions: [v1], operations: [CREATE], resources: [pods], scope: Namespaced}
  namespaceSelector:
    matchExpressions:
      # What the cluster and the mesh itself are made of must start while no
      # injector runs.
      - {key: kubernetes.io/metadata.name, operator: NotIn, values: {{ toJson $excluded }}}
      {{- range .namespace }}
      - {{ toJson . }}
      {{- end }}
  objectSelector:
    matchExpressions:
      {{- range .pod }}
      - {{ toJson . }}
      {{- end }}
{{- end }}
