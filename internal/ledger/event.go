package ledger

// Kinds of events that the ledger itself writes. A change's event may be of any kind; where the caller gives none, the
// name of the state it leads to serves, or KindUpdated when it stays.
const (
	KindAccepted = "accepted"  // a message, with all its deliveries, became durable
	KindNotice   = "notice"    // a notice became durable; Detail is its TellKind
	KindCutOff   = "cut off"   // an attempt was lost: it may have arrived
	KindUpdated  = "updated"   // a step that stays in its state
	KindRetry    = "retry"     // queued again after an attempt
	KindClimbed  = "climbed"   // a notice went on to the next rung of its ladder
	KindReleased = "released"  // a person let a held delivery go
	KindReminded = "reminded"  // the owner of a held delivery was reminded
	KindOpened   = "opened"    // a person opened a body, with a reason
	KindKey      = "key"       // keys were made or rotated
	KindPolicy   = "policy"    // another policy was loaded
	KindEscalate = "escalated" // a held delivery's deadline passed
	KindPruned   = "pruned"    // retention removed something; Detail is Proof.String
)

// EventKinds lists the kinds of events with names; the names of the states are kinds too.
var EventKinds = []string{
	KindAccepted, KindNotice, KindCutOff, KindUpdated, KindRetry, KindClimbed, KindReleased, KindReminded, KindOpened,
	KindKey, KindPolicy, KindEscalate, KindPruned,
	string(Queued), string(Held), string(Returning), string(Delivered), string(Returned), string(Withdrawn),
}
