package translate

import (
	"strings"

	"github.com/weftmesh/weft/internal/model"
)

// statName fills in the pattern of MeshConfig's outboundClusterStatName; "" is
// the cluster's own name.
// Source: istio.io/api mesh/v1alpha1, MeshConfig.outboundClusterStatName.
func statName(pattern string, c *model.Cluster) string {
	return fillStat(pattern, c.Service, "%SERVICE_PORT%", portText(c.Port.Number), "%SERVICE_PORT_NAME%", c.Port.Name, "%TARGET_PORT%", portText(c.Port.Target), "%SUBSET_NAME%", c.Subset)
}

// inboundStatName is statName for a port of the workload, inboundClusterStatName.
func inboundStatName(pattern string, p model.InboundPort) string {
	number, name := p.Port, ""
	for _, port := range p.Service.Ports {
		if port.Target == p.Port || port.Target == 0 && port.Number == p.Port {
			number, name = port.Number, port.Name
			break
		}
	}
	return fillStat(pattern, p.Service, "%SERVICE_PORT%", portText(number), "%SERVICE_PORT_NAME%", name, "%TARGET_PORT%", portText(p.Port), "%SUBSET_NAME%", "")
}

func fillStat(pattern string, s *model.Service, more ...string) string {
	if pattern == "" {
		return ""
	}
	short := s.Host
	if s.Name != "" && strings.HasPrefix(s.Host, s.Name+"."+s.Namespace+".svc.") {
		short = s.Name + "." + s.Namespace
	}
	return strings.NewReplacer(append([]string{"%SERVICE%", short, "%SERVICE_FQDN%", s.Host, "%SERVICE_NAME%", s.Name}, more...)...).Replace(pattern)
}
