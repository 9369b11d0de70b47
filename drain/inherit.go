package drain

import (
	"encoding/base64"
	"encoding/binary"
	"hash/fnv"
	"maps"
	"slices"

	"k8s.io/apimachinery/pkg/types"
)

// mark stands for the UID of a pod that was left out of a report for its size. Two
// pods of one node have the same with a chance of one in four thousand million.
type mark uint32

func markOf(uid types.UID) mark {
	h := fnv.New32a()
	_, _ = h.Write([]byte(uid))
	return mark(h.Sum32())
}

// marks are those of the pods that were left out, by outcome. In JSON they are
// base64 of four bytes each.
type marks map[Outcome]markList

type markList []mark

// MarshalText implements encoding.TextMarshaler.
func (l markList) MarshalText() ([]byte, error) {
	data := make([]byte, 0, 4*len(l))
	for _, m := range l {
		data = binary.BigEndian.AppendUint32(data, uint32(m))
	}
	return base64.RawStdEncoding.AppendEncode(nil, data), nil
}

// UnmarshalText implements encoding.TextUnmarshaler. What is not a list of marks
// is none: those pods are known by the totals only.
func (l *markList) UnmarshalText(text []byte) error {
	*l = nil
	data, err := base64.RawStdEncoding.DecodeString(string(text))
	if err != nil {
		return nil
	}
	for ; len(data) >= 4; data = data[4:] {
		*l = append(*l, mark(binary.BigEndian.Uint32(data)))
	}
	return nil
}

// maxMarks bounds the marks of a report, to an eighth of what it may have. Of what is
// beyond that only the totals are known.
const maxMarks = MaxReport / 8 * 3 / 4 / 4

// inherit adds to a report what an earlier, interrupted run of the same drain had
// seen: what is not on the node any more has been drained.
func (r *Report) inherit(earlier *Report) {
	if earlier == nil || earlier.ID != r.ID {
		return
	}
	r.Started = earlier.Started
	r.unknown = maps.Clone(earlier.unknown)
	seen := map[types.UID]bool{}
	unclaimed := map[mark]Outcome{} // pods of this run that the earlier one may have left out
	for _, p := range r.Pods {
		seen[p.UID] = true
		unclaimed[markOf(p.UID)] = p.Outcome
	}
	known := map[Outcome]int{} // of the earlier totals: whose pod is known
	told := map[mark]bool{}
	for _, p := range earlier.Pods {
		known[p.Outcome]++
		told[markOf(p.UID)] = true
		delete(unclaimed, markOf(p.UID))
		if seen[p.UID] {
			continue
		}
		if p.Outcome == Failed {
			p.Outcome, p.Reason = Drained, ""
		}
		r.Totals[p.Outcome]++
		r.Pods = append(r.Pods, p)
	}
	for _, o := range slices.Sorted(maps.Keys(earlier.LeftOut)) { // a report is the same for the same facts
		for _, m := range earlier.LeftOut[o] {
			if told[m] {
				continue // a version that does not know the marks has kept them
			}
			known[o]++
			if _, here := unclaimed[m]; here {
				delete(unclaimed, m)
				continue
			}
			r.leaveOut(o, m)
		}
	}
	r.inheritUnknown(earlier, known, unclaimed)
}

// inheritUnknown adds pods of which nothing is known but that the earlier report has
// counted them: a version that did not tell more wrote it, or there were too many.
// Those that are still here are among the pods that are left over.
func (r *Report) inheritUnknown(earlier *Report, known map[Outcome]int, unclaimed map[mark]Outcome) {
	skipped, others := 0, 0
	for _, o := range unclaimed {
		if o == Skipped {
			skipped++
		} else {
			others++
		}
	}
	for o, n := range earlier.Totals {
		n = min(n, maxCount) - known[o]
		switch o {
		case Skipped:
			n -= skipped
		case Failed:
			n -= others
			o = Drained
		}
		r.Totals[o] += max(0, n)
	}
}

// maxCount is more pods than a node has seen in any drain: a number in an annotation
// is not believed beyond it.
const maxCount = 1 << 20

// leaveOut counts a pod that has no place in the report. One that was still there
// when it was left out is gone by now.
func (r *Report) leaveOut(o Outcome, m mark) {
	if o == Failed {
		o = Drained
	}
	r.Totals[o]++
	if r.LeftOut == nil {
		r.LeftOut = marks{}
	}
	r.LeftOut[o] = append(r.LeftOut[o], m)
}
