package policy

import (
	"fmt"
	"strings"

	"postvagt/internal/class"
	"postvagt/internal/detect"
	"postvagt/internal/level"
)

// say picks the language: Danish for "da", English for anything else.
func say(lang, da, en string) string {
	if lang == "da" {
		return da
	}
	return en
}

// LevelWords says a level so that it fits after "må kun sendes på" and "may travel only on".
func LevelWords(l level.Level, lang string) string {
	switch l {
	case level.Encrypted:
		return say(lang, "en krypteret forbindelse", "an encrypted connection")
	case level.Verified:
		return say(lang, "en krypteret forbindelse til en bekræftet modtagerserver", "an encrypted connection to a proven receiving server")
	case level.Tunnel:
		return say(lang, "en sikker forbindelse, der er aftalt med modtageren", "a secure connection agreed with the recipient")
	case level.EndToEnd:
		return say(lang, "en forbindelse, hvor selve beskeden er krypteret til modtageren", "a connection where the message itself is encrypted to the recipient")
	}
	return say(lang, "enhver forbindelse", "any connection")
}

// ClassWords says a class so that it fits before "oplysninger" and "information".
func ClassWords(c class.Class, lang string) string {
	switch c {
	case class.Ordinary:
		return say(lang, "almindelige", "ordinary")
	case class.Confidential:
		return say(lang, "fortrolige", "confidential")
	}
	return say(lang, "følsomme", "sensitive")
}

// RuleNotice is the rule of a notice's verdict: no policy is asked about it (law 7).
const RuleNotice = "notice"

// Explain says a verdict in one sentence, in "da" or "en".
func Explain(v Verdict, lang string) string {
	return explainReason(v, lang) + "."
}

func explainReason(v Verdict, lang string) string {
	waits := say(lang, "den venter på en medarbejder", "it waits for a member of staff")
	switch v.Reason {
	case Clean:
		if v.Rule == RuleNotice {
			return say(lang, "Det er en besked, som vagten selv har skrevet", "This is a notice that the guard itself has written")
		}
		return say(lang, "Der blev ikke fundet noget i beskeden, der kræver beskyttelse", "Nothing was found in the message that needs protection") + only(v.Level, lang)
	case ClassAllows:
		if v.Rule == ruleUninspected {
			return say(lang, "Noget i beskeden kunne ikke læses, og den behandles derfor, som om den har "+ClassWords(v.Class, lang)+" oplysninger",
				"Something in the message could not be read, so it is treated as if it held "+ClassWords(v.Class, lang)+" information") + only(v.Level, lang)
		}
		return say(lang, "Beskeden har "+ClassWords(v.Class, lang)+" oplysninger", "The message holds "+ClassWords(v.Class, lang)+" information") + only(v.Level, lang)
	case InsideRecipient:
		return say(lang, "Modtageren hører til myndigheden selv, og beskeder til egne modtagere bliver aldrig stoppet", "The recipient belongs to the authority itself, and mail to its own recipients is never stopped")
	case ReadableNumber:
		return say(lang, "Et CPR-nummer stod et sted, som andre kan læse undervejs, og er flyttet ned i selve beskeden", "A CPR number stood where others can read it on the way, and was moved into the message itself") + only(v.Level, lang)
	case CannotRepair:
		return say(lang, "Et CPR-nummer står et sted, som andre kan læse undervejs, og beskeden kan ikke rettes uden at gå i stykker: "+waits, "A CPR number stands where others can read it on the way, and the message cannot be corrected without breaking it: "+waits)
	case NumberAddress:
		if v.Action == Return {
			return say(lang, "Modtagerens adresse er et CPR-nummer, og det virker kun gennem sikker post: beskeden er ikke sendt", "The recipient's address is a CPR number, which works through secure mail only: the message was not sent")
		}
		return say(lang, "Et CPR-nummer står som adresse i beskedens adressefelter, hvor denne modtager kan læse det: "+waits, "A CPR number stands as an address in the message's address fields, where this recipient can read it: "+waits)
	case NotInspected:
		if v.Action == Return {
			return say(lang, "Noget i beskeden kunne ikke læses, og myndigheden sender ikke det, der ikke kan læses", "Something in the message could not be read, and the authority does not send what cannot be read")
		}
		return say(lang, "Noget i beskeden kunne ikke læses: "+waits, "Something in the message could not be read: "+waits)
	case Loop:
		return say(lang, "Beskeden er kommet tilbage hertil eller har været gennem for mange mailservere: "+waits+", så den ikke kører i ring", "The message came back here or went through too many mail servers: "+waits+", so that it does not go round in circles")
	case Restored:
		return say(lang, "Postvagt er sat tilbage til en sikkerhedskopi, og beskeden kan være nået frem i mellemtiden: "+waits, "Postvagt was brought back from a backup copy, and the message may have arrived in the meantime: "+waits)
	case OwnRule:
		return say(lang, "Myndighedens regel »"+v.Rule+"« gælder: ", "The authority's rule \""+v.Rule+"\" applies: ") + explainAction(v, lang)
	}
	return say(lang, "Afgørelsen er ikke beskrevet ("+string(v.Reason)+")", "The verdict has no words ("+string(v.Reason)+")")
}

func explainAction(v Verdict, lang string) string {
	switch v.Action {
	case Hold:
		return say(lang, "beskeden venter på en medarbejder", "the message waits for a member of staff")
	case Return:
		return say(lang, "beskeden sendes ikke, og afsenderen får besked", "the message is not sent, and the sender is told")
	case Repair:
		return say(lang, "CPR-nummeret flyttes ned i selve beskeden", "the CPR number is moved into the message itself") + only(v.Level, lang)
	}
	return say(lang, "beskeden sendes", "the message is sent") + only(v.Level, lang)
}

// only adds the least level to a sentence, where there is one.
func only(l level.Level, lang string) string {
	if l <= level.Cleartext {
		return ""
	}
	return say(lang, ", og den må kun sendes på ", ", and it may travel only on ") + LevelWords(l, lang)
}

// Describe says in sentences what a policy made of o does, in the order in which it is asked: for postvagt check. The
// names that stand in a configuration are given in brackets.
func Describe(o Options, lang string) []string {
	o = complete(o)
	lines := []string{
		say(lang, "En besked, der er kommet tilbage hertil eller har været gennem for mange mailservere, holdes tilbage.", "A message that came back here, or went through too many mail servers, is held."),
	}
	for _, r := range o.Rules {
		lines = append(lines, describeRule(o, r, lang))
	}
	lines = append(lines, describeInside(o, lang), describeAddress(o, lang), describeReadable(o, lang),
		say(lang, "Står et CPR-nummer sådan et sted i en besked, der ikke kan rettes (for eksempel fordi den er krypteret), holdes beskeden tilbage.",
			"If a CPR number stands in such a place in a message that cannot be corrected (because it is encrypted, for example), the message is held."),
		describeUninspected(o, lang))
	for _, c := range class.All {
		lines = append(lines, say(lang, "Beskeder med "+ClassWords(c, lang)+" oplysninger ("+c.String()+") til modtagere udenfor: ", "Messages with "+ClassWords(c, lang)+" information ("+c.String()+") to recipients outside: ")+
			need(o.Matrix[c], lang)+".")
	}
	return append(lines, say(lang, fmt.Sprintf("Et fund tæller med, når det er mindst %.0f %% sikkert.", 100*o.Confidence), fmt.Sprintf("A finding counts when it is at least %.0f%% certain.", 100*o.Confidence)))
}

func need(l level.Level, lang string) string {
	if l == level.None {
		return say(lang, "intet krav til forbindelsen", "no requirement on the connection")
	}
	return say(lang, "må kun sendes på ", "may travel only on ") + LevelWords(l, lang) + " (" + l.String() + ")"
}

func describeInside(o Options, lang string) string {
	s := say(lang, "Beskeder til myndighedens egne modtagere ("+brackets(o.Domains, lang)+") bliver aldrig stoppet, og forbindelsen dertil bliver kun noteret.",
		"Messages to the authority's own recipients ("+brackets(o.Domains, lang)+") are never stopped, and the connection to them is only recorded.")
	if o.RepairInbound {
		return s + say(lang, " Et CPR-nummer i emnet på en besked udefra flyttes ned i teksten, så svar begynder rene.", " A CPR number in the subject of a message from outside is moved into the text, so that replies start clean.")
	}
	return s + say(lang, " Emnet på beskeder udefra bliver ikke rettet.", " Subjects of messages from outside are left as they are.")
}

func describeAddress(o Options, lang string) string {
	if len(o.Gateways) == 0 {
		return say(lang, "En besked til en adresse, der er et CPR-nummer, sendes ikke, og afsenderen får straks besked: der er ingen domæner til sikker post i opsætningen (gateways).",
			"A message to an address that is a CPR number is not sent, and the sender is told at once: no domain for secure mail is configured (gateways).")
	}
	return say(lang, "En besked til en adresse, der er et CPR-nummer, må kun gå til sikker post ("+brackets(o.Gateways, lang)+"). Ellers sendes den ikke, og afsenderen får straks besked. Andre modtagere, der ville kunne læse adressen, får den først, når en medarbejder frigiver den.",
		"A message to an address that is a CPR number may go to secure mail only ("+brackets(o.Gateways, lang)+"). Otherwise it is not sent, and the sender is told at once. Other recipients who could read the address get it only when a member of staff releases it.")
}

func describeReadable(o Options, lang string) string {
	l := o.Matrix[class.Confidential]
	s := say(lang, "En besked med et CPR-nummer i emnet, et andet felt i brevhovedet eller et filnavn til modtagere udenfor rettes: nummeret flyttes ned i teksten",
		"A message with a CPR number in the subject, another header field or a file name to recipients outside is repaired: the number is moved into the text")
	if l <= level.Cleartext {
		return s + "."
	}
	return s + say(lang, ", og beskeden må kun sendes på ", ", and the message may travel only on ") + LevelWords(l, lang) + " (" + l.String() + ")."
}

func describeUninspected(o Options, lang string) string {
	s := say(lang, "Det, der ikke kan læses, for eksempel en vedhæftet PDF-fil, et Word-dokument eller et billede: ", "What cannot be read, such as an attached PDF file, a Word document or a picture: ")
	then := describeThen(o.Uninspected, lang)
	if o.Uninspected.Class == class.Ordinary {
		also := say(lang, "det hæver ikke klassen, for det har myndigheden selv besluttet (class: ordinary)", "it does not raise the class, by the authority's own decision (class: ordinary)")
		if then = joined([]string{also, then}, say(lang, ", og ", ", and ")); o.Uninspected == (Then{}) {
			then = also
		}
	}
	s += then + "." +
		say(lang, " Er det i brevhovedet eller et filnavn, holdes beskeden til modtagere udenfor altid tilbage.",
			" If it is in the header or a file name, the message to recipients outside is always held.")
	need := max(o.Matrix[o.Uninspected.Class], o.Uninspected.Level)
	if o.Uninspected.Class == class.Ordinary || o.Uninspected.Action == Return || need <= level.Encrypted {
		return s
	}
	return s + say(lang, " Beskeder med sådanne filer skal altså have en rute, der når "+need.String()+", ellers kommer de tilbage. Det kan myndigheden ændre efter en risikovurdering (uninspected: {class: ordinary}).",
		" So messages with such files need a route that reaches "+need.String()+", or they come back. The authority may change that after a risk assessment (uninspected: {class: ordinary}).")
}

func describeThen(t Then, lang string) string {
	var s []string
	switch t.Action {
	case Send:
		s = append(s, say(lang, "beskeden sendes (send)", "the message is sent (send)"))
	case Repair:
		s = append(s, say(lang, "et læsbart CPR-nummer flyttes ned i teksten (repair)", "a readable CPR number is moved into the text (repair)"))
	case Hold:
		s = append(s, say(lang, "beskeden holdes tilbage, til en medarbejder har taget stilling (hold)", "the message is held until a member of staff has decided (hold)"))
	case Return:
		s = append(s, say(lang, "beskeden sendes ikke, og afsenderen får besked (return)", "the message is not sent, and the sender is told (return)"))
	}
	if t.Class > class.Ordinary {
		s = append(s, say(lang, "beskeden behandles mindst som en med "+ClassWords(t.Class, lang)+" oplysninger ("+t.Class.String()+")", "the message is treated at least as one with "+ClassWords(t.Class, lang)+" information ("+t.Class.String()+")"))
	}
	if t.Level > level.None {
		s = append(s, say(lang, "den må kun sendes på ", "it may travel only on ")+LevelWords(t.Level, lang)+" ("+t.Level.String()+")")
	}
	return joined(s, say(lang, ", og ", ", and "))
}

func describeRule(o Options, r Rule, lang string) string {
	s := say(lang, "Regel »"+r.ID+"«, ", "Rule \""+r.ID+"\", ") + describeWhen(r.When, lang) + ": " + describeThen(r.Then, lang) + "."
	if l := o.Matrix[r.When.Class]; r.When.Class > class.Ordinary && r.Then.Level > level.None && r.Then.Level < l {
		s += say(lang, " Det er mindre, end tabellen ellers kræver ("+l.String()+"), og gælder kun beskeder af netop den klasse.", " This is less than the table asks otherwise ("+l.String()+"), and holds only for messages of exactly that class.")
	}
	switch a := r.Then.Action; {
	case a == Send && r.When.speaksOfNumbers():
		s += say(lang, " Et CPR-nummer bliver her stående, hvor andre kan læse det.", " A CPR number stays here where others can read it.")
	case a == Send:
		s += say(lang, " Et CPR-nummer, som andre kan læse, bliver stadig rettet.", " A CPR number that others can read is still repaired.")
	case a == Hold || a == Return:
		s += say(lang, " Egne modtagere er undtaget.", " The authority's own recipients are exempt.")
	}
	return s
}

func describeWhen(w When, lang string) string {
	var s []string
	switch w.Direction {
	case Outbound:
		s = append(s, say(lang, "beskeden er på vej ud", "the message is going out"))
	case Inbound:
		s = append(s, say(lang, "beskeden kommer udefra", "the message comes from outside"))
	}
	if len(w.Senders) > 0 {
		s = append(s, say(lang, "afsenderen er ", "the sender is ")+names(w.Senders, lang))
	}
	if len(w.Recipients) > 0 {
		s = append(s, say(lang, "modtageren er ", "the recipient is ")+names(w.Recipients, lang))
	}
	if len(w.Kinds)+len(w.Places) > 0 {
		s = append(s, describeFound(w, lang))
	}
	if w.Class > class.Ordinary {
		s = append(s, say(lang, "beskeden har mindst "+ClassWords(w.Class, lang)+" oplysninger ("+w.Class.String()+")", "the message holds at least "+ClassWords(w.Class, lang)+" information ("+w.Class.String()+")"))
	}
	if w.MinRecipients > 1 {
		s = append(s, say(lang, fmt.Sprintf("beskeden har mindst %d modtagere", w.MinRecipients), fmt.Sprintf("the message has at least %d recipients", w.MinRecipients)))
	}
	if len(s) == 0 {
		return say(lang, "for alle beskeder", "for every message")
	}
	return say(lang, "når ", "when ") + joined(s, say(lang, " og ", " and "))
}

func describeFound(w When, lang string) string {
	what := say(lang, "noget", "something")
	if len(w.Kinds) > 0 {
		var kinds []string
		for _, k := range w.Kinds {
			kinds = append(kinds, kindWords(k, lang))
		}
		what = joined(kinds, say(lang, " eller ", " or "))
	}
	what += say(lang, " er fundet", " was found")
	if len(w.Places) == 0 {
		return what
	}
	var places []string
	for _, k := range w.Places {
		places = append(places, PlaceKindWords(k, lang))
	}
	return what + " " + joined(places, say(lang, " eller ", " or "))
}

func kindWords(k detect.Kind, lang string) string {
	switch k {
	case detect.CPR:
		return say(lang, "et CPR-nummer", "a CPR number")
	case detect.Uninspected:
		return say(lang, "noget, der ikke kan læses,", "something that cannot be read")
	}
	return string(k)
}

// PlaceKindWords says where something stood, so that it fits after "et CPR-nummer".
func PlaceKindWords(k detect.PlaceKind, lang string) string {
	switch k {
	case detect.InHeader:
		return say(lang, "i brevhovedet", "in the message header")
	case detect.InPartHeader:
		return say(lang, "i et felt ved en del af beskeden", "in a field beside a part of the message")
	case detect.InFileName:
		return say(lang, "i et filnavn", "in a file name")
	case detect.InText:
		return say(lang, "i teksten", "in the text")
	case detect.InHidden:
		return say(lang, "i tekst, der ikke ses med det samme", "in text that is not seen at once")
	case detect.InAttachment:
		return say(lang, "i en vedhæftet fil", "in an attachment")
	case detect.InEnvelope:
		return say(lang, "i en adresse", "in an address")
	}
	return string(k)
}

func names(list []string, lang string) string { return joined(list, say(lang, " eller ", " or ")) }

// brackets lists names as they stand in the configuration.
func brackets(list []string, lang string) string {
	if len(list) == 0 {
		return say(lang, "ingen", "none")
	}
	return strings.Join(list, ", ")
}

// joined writes "a, b og c".
func joined(s []string, last string) string {
	if len(s) < 2 {
		return strings.Join(s, "")
	}
	return strings.Join(s[:len(s)-1], ", ") + last + s[len(s)-1]
}
