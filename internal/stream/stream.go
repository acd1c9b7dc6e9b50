// Package stream sends an HTTP answer that goes on.
//
// In: an http.ResponseWriter. Out: a writer of pieces that are sent when they
// come. It may import the standard library alone.
package stream

import "net/http"

// Writer sends each piece at once. An error is that of the connection.
type Writer struct {
	answer  http.ResponseWriter
	control *http.ResponseController
}

// To is a Writer to who asked.
func To(w http.ResponseWriter) Writer { return Writer{w, http.NewResponseController(w)} }

// Begin sends the header, so that who asked knows that the answer goes on before
// there is any of it.
func (w Writer) Begin() error { return w.control.Flush() }

// Write implements io.Writer.
func (w Writer) Write(piece []byte) (int, error) {
	n, err := w.answer.Write(piece)
	if err == nil {
		err = w.control.Flush()
	}
	return n, err
}
