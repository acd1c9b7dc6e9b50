package traces

import (
	"encoding/hex"

	logs "go.opentelemetry.io/proto/otlp/logs/v1"
	"google.golang.org/protobuf/proto"
)

// LogsPath is that of records of logs by OTLP over gRPC.
const LogsPath = "/opentelemetry.proto.collector.logs.v1.LogsService/Export"

// Record is one of a log, as a collector got it.
type Record struct {
	Cluster          string // by which it came
	Service, LogName string // that it is of
	Body             string
	Trace            string // in hex; empty where there is none
	Tags             map[string]string
	Nested           map[string]map[string]string // attributes that have some of their own
}

// ReadRecords gives the records of a call of gRPC to a collector of logs.
func ReadRecords(body []byte) ([]Record, error) {
	if len(body) < 5 {
		return nil, nil
	}
	var in logs.LogsData // the same fields as ExportLogsServiceRequest
	if err := proto.Unmarshal(body[5:], &in); err != nil {
		return nil, err
	}
	var out []Record
	for _, resource := range in.GetResourceLogs() {
		of := tagsOf(resource.GetResource().GetAttributes())
		for _, scope := range resource.GetScopeLogs() {
			for _, l := range scope.GetLogRecords() {
				r := Record{
					Service: of["service.name"], LogName: of["log_name"], Body: l.GetBody().GetStringValue(), Trace: hex.EncodeToString(l.GetTraceId()),
					Tags: tagsOf(l.GetAttributes()), Nested: map[string]map[string]string{},
				}
				for _, a := range l.GetAttributes() {
					if nested := a.GetValue().GetKvlistValue(); nested != nil {
						r.Nested[a.GetKey()] = tagsOf(nested.GetValues())
					}
				}
				out = append(out, r)
			}
		}
	}
	return out, nil
}
