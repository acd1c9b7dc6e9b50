{{/* weft.gateway: a gateway's Deployment and Service. The argument is a dict:
root, role (ingress or egress), gateway (its values). */}}
{{- define "weft.gateway" -}}
{{- $root := .root -}}
{{- $g := .gateway -}}
{{- $ns := $root.Release.Namespace -}}
{{- $own := mustMergeOverwrite (dict "app" $g.name "istio" (printf "%sgateway" .role)) $g.labels -}}
{{- $labels := include "weft.labels" (list $root (printf "%s-gateway" .role)) -}}
{{- /* What its metrics call it: without these the CA would take the version of Weft for that of an app. Kiali knows a gateway by the last. */}}
{{- $pod := merge (dict
  "service.istio.io/canonical-name" (coalesce (get $own "service.istio.io/canonical-name") (get $own "app.kubernetes.io/name") $own.app)
  "service.istio.io/canonical-revision" (coalesce (get $own "service.istio.io/canonical-revision") (get $own "app.kubernetes.io/version") (get $own "version") "latest")
  "operator.istio.io/component" (printf "%sGateways" (title .role))) $own }}
{{- $said := fromYaml (get ($g.podAnnotations | default dict) "proxy.istio.io/config") }}
{{- range $field, $_ := omit $said "gatewayTopology" "proxyHeaders" "connectionSettings" }}
{{- fail (printf "gateways.%s.podAnnotations: of proxy.istio.io/config only gatewayTopology, proxyHeaders and connectionSettings are read here, not %s; write what it says into meshConfig.defaultConfig" $.role $field) }}
{{- end }}
{{- /* What Envoy starts with: the agent reads it, of an injected pod the injector says it. */}}
{{- $start := pick ($root.Values.meshConfig.defaultConfig | default dict) "proxyStatsMatcher" "runtimeValues" "fileFlushInterval" "fileFlushMinSizeKb" "envoyAccessLogService" "envoyMetricsService" "statsdUdpAddress" "tracingServiceName" }}
{{- $limit := dig "connectionSettings" "globalDownstreamConnectionLimit" 0 ($root.Values.meshConfig.defaultConfig | default dict) }}
{{- with dig "connectionSettings" "globalDownstreamConnectionLimit" $limit $said }}
{{- $_ := set $start "connectionSettings" (dict "globalDownstreamConnectionLimit" .) }}
{{- end }}
---
apiVersion: v1
kind: ServiceAccount
metadata:
  name: {{ $g.name }}
  namespace: {{ $ns }}
  labels: {{- $labels | nindent 4 }}
---
apiVersion: v1
kind: Service
metadata:
  name: {{ $g.name }}
  namespace: {{ $ns }}
  labels:
    {{- toYaml $own | nindent 4 }}
    {{- $labels | nindent 4 }}
  {{- with $g.annotations }}
  annotations: {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  type: {{ $g.type }}
  {{- if and $g.externalTrafficPolicy (ne $g.type "ClusterIP") }}
  externalTrafficPolicy: {{ $g.externalTrafficPolicy }}
  {{- end }}
  {{- if eq $g.type "LoadBalancer" }}
  {{- with $g.loadBalancerClass }}
  loadBalancerClass: {{ . }}
  {{- end }}
  {{- with $g.loadBalancerIP }}
  loadBalancerIP: {{ . | quote }}
  {{- end }}
  {{- with $g.loadBalancerSourceRanges }}
  loadBalancerSourceRanges: {{ toJson . }}
  {{- end }}
  {{- end }}
  selector: {{ toJson $own }}
  ports:
    {{- range $g.ports }}
    - name: {{ .name }}
      port: {{ .port }}
      targetPort: {{ .targetPort | default .port }}
      protocol: TCP
      {{- with .appProtocol }}
      appProtocol: {{ . }}
      {{- end }}
      {{- if ne $g.type "ClusterIP" }}
      {{- with index $g.nodePorts .name }}
      nodePort: {{ . }}
      {{- end }}
      {{- end }}
    {{- end }}
---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ $g.name }}
  namespace: {{ $ns }}
  labels:
    {{- toYaml $own | nindent 4 }}
    {{- $labels | nindent 4 }}
spec:
  replicas: {{ $g.replicas }}
  strategy: {rollingUpdate: {maxSurge: 1, maxUnavailable: 0}}
  selector: {matchLabels: {{ toJson $own }}}
  template:
    metadata:
      labels:
        {{- toYaml $pod | nindent 8 }}
        sidecar.istio.io/inject: "false"
        {{- $labels | nindent 8 }}
      annotations:
        prometheus.io/scrape: "true"
        prometheus.io/port: "15020"
        prometheus.io/path: /stats/prometheus
        # Kiali knows a proxy by it.
        sidecar.istio.io/status: {{ dict "containers" (list "istio-proxy") | toJson | quote }}
        {{- with $g.podAnnotations }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
    spec:
      serviceAccountName: {{ $g.name }}
      # The proxy never speaks to the API server.
      automountServiceAccountToken: false
      {{- with include "weft.priority" $root }}
      priorityClassName: {{ . }}
      {{- end }}
      # Longer than the drain, which the agent begins at SIGTERM.
      terminationGracePeriodSeconds: 45
      securityContext: {{- include "weft.podSecurity" 1337 | nindent 8 }}
      {{- with $root.Values.imagePullSecrets }}
      imagePullSecrets: {{ toJson . }}
      {{- end }}
      {{- include "weft.scheduling" (list $g $own) | nindent 6 }}
      containers:
        - name: istio-proxy
          image: {{ $root.Values.hub }}/proxy:{{ include "weft.tag" $root }}
          imagePullPolicy: {{ $root.Values.imagePullPolicy }}
          args:
            - proxy
            - router
            - --run-dir=/etc/istio/proxy/run
            - --pilot=weft-pilot{{ include "weft.suffix" $root }}.{{ $ns }}.svc:15012
            - --pilot-identity={{ $ns }}/weft-pilot{{ include "weft.suffix" $root }}
            - --ca=weft-ca.{{ $ns }}.svc:15012
            - --ca-identity={{ $ns }}/weft-ca
            - --domain={{ $root.Values.proxy.clusterDomain }}
            - --envoy-log-level={{ $root.Values.proxy.logLevel }}
            {{- with ($root.Values.meshConfig.defaultConfig | default dict).concurrency }}
            - --concurrency={{ . }}
            {{- end }}
            {{- with ($root.Values.meshConfig.defaultConfig | default dict).drainDuration }}
            - --drain-duration={{ . }}
            {{- end }}
          env:
            {{- include "weft.podEnv" $root | nindent 12 }}
            - name: INSTANCE_IP
              valueFrom: {fieldRef: {fieldPath: status.podIPs}}
            - name: TRUST_DOMAIN
              value: {{ $root.Values.meshConfig.trustDomain }}
            - name: ISTIO_META_CLUSTER_ID
              value: {{ $root.Values.clusterName | quote }}
            - name: ISTIO_META_WORKLOAD_NAME
              value: {{ $g.name }}
            - name: ISTIO_METAJSON_LABELS
              value: {{ toJson $own | quote }}
            {{- with $start }}
            - name: PROXY_CONFIG
              value: {{ toJson . | replace "$" "$$" | quote }} {{- /* Kubernetes reads $$ and $(NAME) in it. */}}
            {{- end }}
          ports:
            {{- range $g.ports }}
            - {name: {{ .name }}, containerPort: {{ .targetPort | default .port }}, protocol: TCP}
            {{- end }}
            - {name: http-envoy-prom, containerPort: 15090, protocol: TCP}
          startupProbe:
            httpGet: {path: /healthz/ready, port: 15021}
            periodSeconds: 1
            failureThreshold: 600
          readinessProbe:
            httpGet: {path: /healthz/ready, port: 15021}
            periodSeconds: 2
          securityContext: {{- include "weft.security" $root | nindent 12 }}
          resources: {{- toYaml $g.resources | nindent 12 }}
          volumeMounts:
            - {name: istio-envoy, mountPath: /etc/istio/proxy}
            {{- include "weft.identityMounts" $root | nindent 12 }}
      volumes:
        - name: istio-envoy
          emptyDir: {medium: Memory}
        {{- include "weft.identityVolumes" $root | nindent 8 }}
{{- include "weft.disruption" (dict "root" $root "component" (printf "%s-gateway" .role) "name" $g.name "replicas" $g.replicas "selector" $own) }}
{{- end }}
