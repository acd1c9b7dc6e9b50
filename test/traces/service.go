package traces

import (
	"encoding/binary"
	"fmt"
	"io"
	"strings"

	logdata "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
	alog "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// ServicePath is that of Envoy's access log service.
const ServicePath = "/envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs"

// ReadService reads a stream to Envoy's access log service until it ends; got is
// called with each record. Of a request the body is "METHOD PATH CODE", and the tags
// are headers, those of a response with "response ", trailers with "trailer " and objects
// of filter state with "state " before the name; of a connection the body is "TCP CLUSTER".
func ReadService(from io.Reader, got func(Record)) error {
	var of *alog.StreamAccessLogsMessage_Identifier // the first message alone has it
	for {
		head := make([]byte, 5)
		if _, err := io.ReadFull(from, head); err != nil {
			return err
		}
		body := make([]byte, binary.BigEndian.Uint32(head[1:]))
		if _, err := io.ReadFull(from, body); err != nil {
			return err
		}
		var in alog.StreamAccessLogsMessage
		if err := proto.Unmarshal(body, &in); err != nil {
			return err
		}
		if in.GetIdentifier() != nil {
			of = in.GetIdentifier()
		}
		for _, e := range in.GetHttpLogs().GetLogEntry() {
			got(requestRecord(of, e))
		}
		for _, e := range in.GetTcpLogs().GetLogEntry() {
			got(commonRecord(of, e.GetCommonProperties(), "TCP "+e.GetCommonProperties().GetUpstreamCluster()))
		}
	}
}

func requestRecord(of *alog.StreamAccessLogsMessage_Identifier, e *logdata.HTTPAccessLogEntry) Record {
	in, out := e.GetRequest(), e.GetResponse()
	r := commonRecord(of, e.GetCommonProperties(), fmt.Sprintf("%s %s %d", in.GetRequestMethod(), in.GetPath(), out.GetResponseCode().GetValue()))
	for prefix, all := range map[string]map[string]string{"": in.GetRequestHeaders(), "response ": out.GetResponseHeaders(), "trailer ": out.GetResponseTrailers()} {
		for name, value := range all {
			r.Tags[prefix+name] = value
		}
	}
	return r
}

func commonRecord(of *alog.StreamAccessLogsMessage_Identifier, c *logdata.AccessLogCommon, body string) Record {
	r := Record{LogName: of.GetLogName(), Service: of.GetNode().GetCluster(), Body: strings.TrimSpace(body), Tags: map[string]string{}}
	for name, any := range c.GetFilterStateObjects() {
		var value wrapperspb.StringValue
		if any.UnmarshalTo(&value) == nil {
			r.Tags["state "+name] = value.GetValue()
		}
	}
	return r
}
