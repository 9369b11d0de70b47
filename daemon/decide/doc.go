// Package decide is the behaviour of rebootd: one pure function, [Next], that
// says from the record, the facts and the policy what is to be done now, and
// why. It reads no clock, asks no API and opens no file; what it needs to know
// is in its arguments, and what it wants done is in its result. Whoever wants to
// know what rebootd does in some situation finds the answer here and nowhere
// else.
//
// One reboot is one operation. Its phases, and what moves it from one to the
// next, are drawn in docs/state-machine.md:
//
//	idle → (Waiting ⇄) Queued → Draining → Rebooting → Verifying → idle
//	                                          ↓           ↓
//	                                        Halted      Halted
//
// Three concepts carry everything between the request and the order. A gate says "not
// now", and what follows depends on nothing but the points at which it binds (package
// gate). A stage is done between the cordon and the order, and undone in reverse
// ([Stage]). A claim is taken in order before anything is done to the node, and given
// back in reverse ([Claim]). A new gate, stage or claim changes nothing here.
//
// What the rest of the daemon may rely on:
//
//   - Everything before the spawned reboot is undone in reverse order (the stages, the
//     cordon, then the claims) when the request is withdrawn, a gate that binds there
//     closes, a claim is lost or a stage fails. From the first stage that is undone there
//     is no way on but back.
//   - Nothing after it is undone: the node stays cordoned and keeps its claims until
//     another boot has been proved and the node is healthy. While the machine goes down,
//     whoever has ordered that, nothing is done at all.
//   - A step that the next start of the daemon must know of is written to the record
//     before it is taken.
//   - Asked twice with the same arguments it answers the same.
package decide
