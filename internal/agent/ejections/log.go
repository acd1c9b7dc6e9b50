package ejections

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"
	"unicode/utf8"
)

// Bounds of the file and of what is read of it.
const (
	maxFile = 256 << 10 // from which on it is emptied; Envoy appends, and so goes on at the start
	maxRead = 4 << 20   // at once; of more the oldest is passed over
	maxLine = 16 << 10
	maxName = 300 // bytes of a cluster's name, an address, a reason
)

// event is a line of Envoy's. Source: envoy.data.cluster.v3.OutlierDetectionEvent.
type event struct {
	Type      string    `json:"type"`
	Timestamp time.Time `json:"timestamp"`
	Cluster   string    `json:"cluster_name"`
	Address   string    `json:"upstream_url"` // IP:PORT, or a socket's path
	Action    string    `json:"action"`
	Enforced  bool      `json:"enforced"`

	old bool // it stood in the file before the watch began
}

// reason is the event's type as values of labels are written.
func (e event) reason() string { return strings.ToLower(e.Type) }

// sane says whether an event can be one of Envoy's.
func (e event) sane() bool {
	for _, s := range []string{e.Type, e.Cluster, e.Address} {
		if s == "" || len(s) > maxName || !utf8.ValidString(s) {
			return false
		}
	}
	return true
}

// logFile is the file to which Envoy appends.
type logFile struct {
	path string
	at   int64 // up to which it is read
	old  int64 // up to which it was written when the watch began: times would be wrong after a step of the clock
}

// newLogFile notes how much of the file at path is of before.
func newLogFile(path string) logFile {
	info, err := os.Stat(path)
	if err != nil { // not there yet, most likely; what is wrong with it is said when it is read
		return logFile{path: path}
	}
	return logFile{path: path, old: info.Size()}
}

// read gives the events that were written since it was read last, and says
// whether some may have been missed. Without the file there are none. One that
// has grown large is emptied once it is read.
func (l *logFile) read(take func(event)) (missed bool, err error) {
	f, err := os.Open(l.path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return true, err
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return true, err
	case !info.Mode().IsRegular():
		return true, errors.New(l.path + " is no file")
	case info.Size() < max(l.at, l.old): // it was emptied
		l.at, l.old, missed = 0, 0, true
	case info.Size()-l.at > maxRead:
		l.at, missed = info.Size()-maxRead, true
	}
	if info.Size() > l.at {
		if err := l.lines(io.NewSectionReader(f, l.at, info.Size()-l.at), take); err != nil {
			return true, err
		}
	}
	if l.at < maxFile {
		return missed, nil
	}
	l.at, l.old = 0, 0
	return true, os.Truncate(l.path, 0)
}

// lines takes whole lines; the rest of one that is being written is read the next
// time. A line that is too long, or is no event, is passed over.
func (l *logFile) lines(r io.Reader, take func(event)) error {
	in := bufio.NewReaderSize(r, maxLine)
	long := false
	for {
		line, err := in.ReadSlice('\n')
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			l.at, long = l.at+int64(len(line)), true
			continue
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		l.at += int64(len(line))
		e := event{old: l.at <= l.old}
		if !long && json.Unmarshal(line, &e) == nil && e.sane() {
			take(e)
		}
		long = false
	}
}
