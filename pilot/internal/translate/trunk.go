package translate

import (
	"google.golang.org/protobuf/proto"
)

// What is written of a Protobuf message in two goes is one message: of a field
// that is in both the later holds, messages are merged and lists joined. So what
// many messages have in common, their trunk, is made, checked and serialised
// once, and each adds what is its own.
// Source: Protocol Buffers' "Encoding", Last One Wins.

// trunks are those of one translator, made by one state of the settings.
// The zero value keeps none.
type trunks struct {
	of   shared
	made map[any][]byte
}

// graft gives own, which is serialised and not read from then on, what all
// messages of its kind have in common, as trunk has it.
//
// To Go's library the trunk is fields of own that it does not know.
func graft[M validated](b *builder, own M, kind any, common func() M) {
	made, ok := b.trunks[kind]
	if !ok {
		made = trunk(b, serialised(own), kind, common())
	}
	// The first of a kind too: equal messages must be equal bytes.
	own.ProtoReflect().SetUnknown(made)
}

// trunk gives what all messages of a kind have in common. kind is a comparable
// value that says all that common, which holds it, goes by beside the settings.
// There must be few kinds: each stays until the settings change. own is the rest
// of the first message of the kind, which is checked with it.
func trunk(b *builder, own []byte, kind any, common validated) []byte {
	made := serialised(common)
	read(own, common) // the trunk alone may lack what there must be
	if err := common.Validate(); err != nil {
		b.errs = append(b.errs, err)
	} else if b.trunks != nil {
		b.trunks[kind] = made
	}
	return made
}

// check keeps what is wrong with a message, or a part of one.
func (b *builder) check(m validated) {
	if err := m.Validate(); err != nil {
		b.errs = append(b.errs, err)
	}
}

// steady serialises equal messages to the same bytes; steadySized those whose
// size it was just asked for.
var (
	steady      = proto.MarshalOptions{Deterministic: true}
	steadySized = proto.MarshalOptions{Deterministic: true, UseCachedSize: true}
)

func serialised(m proto.Message) []byte { return appendTo(nil, m, steady) }

func appendTo(to []byte, m proto.Message, how proto.MarshalOptions) []byte {
	out, err := how.MarshalAppend(to, m)
	if err != nil {
		panic("translate: a message made here cannot be serialised: " + err.Error())
	}
	return out
}

// rejoined is a message with its trunk in it, to be read.
func rejoined(body []byte, like validated) validated {
	m := like.ProtoReflect().New().Interface()
	read(body, m)
	out, _ := m.(validated)
	return out
}

// read adds to a message what is serialised.
func read(body []byte, into proto.Message) {
	if err := (proto.UnmarshalOptions{Merge: true}).Unmarshal(body, into); err != nil {
		panic("translate: a message made here cannot be read: " + err.Error())
	}
}

// kinds of trunks that go by the settings alone.
type settled int

const (
	meshOfAnyone settled = iota // mesh mTLS of clients, to any workload
	meshOfNamed                 // the same, to those that each client names
	tries                       // the mesh's retries, and no time-out
)
