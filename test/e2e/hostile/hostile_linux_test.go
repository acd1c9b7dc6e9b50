package hostile

import "testing"

// TestWhatIsWrong: what a user and an attacker can do wrong, one after another
// on one cluster; each step leaves it as it found it.
func TestWhatIsWrong(t *testing.T) {
	b := newBench(t)
	for _, step := range []struct {
		name string
		do   func(*bench)
	}{
		{"ports are documented", (*bench).portsDocumented},
		{"another's identity", (*bench).foreignIdentity},
		{"refused before it is stored", (*bench).refusedBefore},
		{"status over two pilots", (*bench).countedOverReplicas},
		{"wait in vain", (*bench).waitsInVain},
		{"without the webhook", (*bench).withoutWebhook},
		{"refused by proxies", (*bench).refusedByProxies},
		{"the leader is killed", (*bench).leaderKilled},
		{"analyze and describe", (*bench).looks},
		{"attacked", (*bench).attacked},
	} {
		t.Run(step.name, func(t *testing.T) { step.do(b.on(t)) })
	}
}
