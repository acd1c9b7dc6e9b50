package figures

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// partLabel is the label by which the parts of one question are told apart: their
// places in it.
const partLabel = "weft_figure"

// Joined asks a Prometheus for several parts in one question.
func Joined(parts []string) string {
	out := make([]string, len(parts))
	for i, part := range parts {
		out[i] = fmt.Sprintf(`label_replace(%s, %q, "%d", "", "")`, part, partLabel, i)
	}
	return strings.Join(out, " or ")
}

// Series is one of the answer to a question that was Joined.
type Series struct {
	Part    int // its place in the question
	Labels  map[string]string
	Samples []Valued // one of a vector
}

// Valued is a value, which may be no number, at a time in Unix seconds.
type Valued struct{ At, Value float64 }

// The kinds of answers. Source: Prometheus, "HTTP API", Expression query result
// formats.
const (
	Vector = "vector" // of an instant query
	Matrix = "matrix" // of a range query
)

// ReadJoined reads the answer, of a kind, to a question of so many parts. What is no
// such answer is an error; a value that cannot be read is left out.
func ReadJoined(answer []byte, kind string, parts int) ([]Series, error) {
	var read struct {
		Status, Error string
		Data          struct {
			ResultType string
			Result     []struct {
				Metric map[string]string
				Value  *[2]any
				Values [][2]any
			}
		}
	}
	if err := json.Unmarshal(answer, &read); err != nil {
		return nil, errors.New("its answer is not one of Prometheus' API")
	}
	if read.Status != "success" || read.Data.ResultType != kind {
		return nil, fmt.Errorf("its answer is not one to such a question: status %q %s", read.Status, read.Error)
	}
	out := make([]Series, 0, len(read.Data.Result))
	for _, r := range read.Data.Result {
		part, err := strconv.Atoi(r.Metric[partLabel])
		if err != nil || part < 0 || part >= parts {
			return nil, errors.New("its answer has series that were not asked for")
		}
		if r.Value != nil {
			r.Values = append(r.Values, *r.Value)
		}
		out = append(out, Series{part, r.Metric, samples(r.Values)})
	}
	return out, nil
}

// samples are pairs of a time and the text of a value.
func samples(pairs [][2]any) (out []Valued) {
	for _, pair := range pairs {
		at, isTime := pair[0].(float64)
		text, isText := pair[1].(string)
		if value, err := strconv.ParseFloat(text, 64); isTime && isText && err == nil {
			out = append(out, Valued{at, value})
		}
	}
	return out
}
