package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"

	"postvagt/internal/class"
	"postvagt/internal/config"
	"postvagt/internal/level"
	"postvagt/internal/policy"
)

type checkCmd struct {
	withAuthority
	Lang string `enum:"da,en" default:"da" help:"da or en."`
	JSON bool   `name:"json" help:"Answer in JSON."`
}

// Run says in words what the configuration does.
func (c checkCmd) Run(s streams) error {
	cfg, err := c.load()
	if err != nil {
		return err
	}
	only, err := c.scope(cfg)
	if err != nil {
		return err
	}
	said := describe(cfg, c.Lang)
	if only != "" {
		said = describe(alone(cfg, only), c.Lang)
		said.Left = pick(c.Lang == "da", "Advarsler om selve konfigurationen vises kun for hele installationen, uden --authority.",
			"Warnings about the configuration itself are shown for the whole installation only, without --authority.")
	}
	said.Warnings = append(said.Warnings, databaseRisks(context.Background(), cfg, c.Lang == "da")...)
	if c.JSON {
		return json.NewEncoder(s.out).Encode(said)
	}
	for _, a := range said.Authorities {
		fmt.Fprintf(s.out, "%s\n", a.Name)
		for _, line := range a.Words {
			fmt.Fprintf(s.out, "  - %s\n", line)
		}
	}
	for _, line := range said.Ways {
		fmt.Fprintln(s.out, line)
	}
	fmt.Fprintln(s.out, said.Ledger)
	fmt.Fprintln(s.out, said.Bodies)
	for _, line := range said.Apart {
		fmt.Fprintln(s.out, line)
	}
	for _, w := range said.Warnings {
		fmt.Fprintln(s.out, "!", w)
	}
	if said.Left != "" {
		fmt.Fprintln(s.out, said.Left)
	}
	return nil
}

// description is a configuration in words.
type description struct {
	Authorities []authorityWords `json:"authorities"`
	Ways        []string         `json:"ways"`
	Apart       []string         `json:"apart,omitempty"` // with several authorities: who is apart from whom, and what they share
	Ledger      string           `json:"ledger"`
	Bodies      string           `json:"bodies"`
	Warnings    []string         `json:"warnings"`
	Left        string           `json:"left_out,omitempty"` // what is not said of one authority
}

type authorityWords struct {
	Name   string   `json:"name"`
	Policy string   `json:"policy"` // version
	Words  []string `json:"words"`
}

func describe(c *config.Config, lang string) description {
	d := description{Warnings: append([]string{}, c.Warnings...), Ledger: engineWords(c, lang == "da"), Bodies: bodies(c, lang == "da")}
	for _, a := range c.Authorities {
		w := authorityWords{Name: a.Name, Words: policy.Describe(a.Policy, lang)}
		if p, err := policy.New(a.Policy); err == nil {
			w.Policy = p.Version()
		}
		w.Words = append(w.Words, retentionWords(a.Retention, lang == "da")...)
		d.Authorities = append(d.Authorities, w)
	}
	for _, a := range c.Authorities {
		for _, r := range a.Routes {
			d.Ways = append(d.Ways, way(c, r, lang)...)
		}
	}
	for _, r := range c.Routes {
		d.Ways = append(d.Ways, way(c, r, lang)...)
	}
	if i := len(c.Routes); i == 0 || c.Routes[i-1].To != "*" {
		d.Ways = append(d.Ways, way(c, config.Route{To: "*", Level: level.Encrypted}, lang)...)
	}
	d.Apart = apartWords(c, lang)
	return d
}

// way says where a route's mail goes and which classes can leave that way, before anything is sent.
func way(c *config.Config, r config.Route, lang string) []string {
	da := lang == "da"
	to, by := r.To, r.SmartHost
	if by == "" {
		by = pick(da, "den mailserver, domænet selv peger på (MX)", "the mail server the domain itself names (MX)")
	}
	if to == "*" {
		to = pick(da, "alle andre", "everybody else")
	}
	line := fmt.Sprintf(pick(da, "Post til %s går til %s.", "Mail to %s goes to %s."), to, by)
	if r.Authority != "" {
		line = fmt.Sprintf(pick(da, "Post fra %s til %s går til %s.", "Mail from %s to %s goes to %s."), r.Authority, to, by)
	}
	if r.Level > level.Cleartext {
		line += fmt.Sprintf(pick(da, " Al post dertil skal på %s (%s).", " All mail there must travel on %s (%s)."), policy.LevelWords(r.Level, lang), r.Level)
	}
	if r.Vouches > level.None {
		line += fmt.Sprintf(pick(da, " Myndigheden indestår for, at serveren sender videre på %s (%s); kvitteringen siger da, at det er oplyst, ikke målt.", " The authority vouches that this server carries mail on at %s (%s); the receipt then says vouched, not measured."), policy.LevelWords(r.Vouches, lang), r.Vouches)
	}
	lines := []string{line}
	if own := c.AuthorityOf(r.To); own != nil && (r.Authority == "" || r.Authority == own.Name) {
		return lines
	}
	for _, a := range c.Authorities {
		if r.Authority != "" && r.Authority != a.Name {
			continue
		}
		for _, cl := range class.All {
			need := policy.LevelFor(a.Policy, cl)
			if s := obstacle(r, cl, need, da); s != "" {
				lines = append(lines, "  ! "+a.Name+": "+s)
			}
		}
	}
	return lines
}

// obstacle says what a class needs that this way may not give; "" when nothing stands in its way.
func obstacle(r config.Route, cl class.Class, need level.Level, da bool) string {
	name := r.TLSName
	if name == "" {
		name, _, _ = net.SplitHostPort(r.SmartHost)
	}
	words := policy.ClassWords(cl, map[bool]string{true: "da", false: "en"}[da])
	switch {
	case need <= max(r.Level, r.Vouches) || need <= level.Cleartext:
		return ""
	case need > level.Verified:
		return fmt.Sprintf(pick(da, "%s oplysninger (%s) kræver %s og kan ikke sendes den vej. Afsenderen får besked.", "%s information (%s) needs %s and cannot leave this way. Its sender is told."), words, cl, need)
	case r.SmartHost == "" && need > level.Encrypted:
		return fmt.Sprintf(pick(da, "%s oplysninger (%s) kræver %s. En server fundet gennem domænets MX måles højst til encrypted, så de kan ikke sendes den vej. Afsenderen får besked. Brug en smarthost, der kan bekræftes, eller sænk kravet i matrix efter en risikovurdering.",
			"%s information (%s) needs %s. A server found through the domain's MX is measured at most encrypted, so it cannot leave this way. Its sender is told. Use a smart host that can be proven, or lower the matrix after a risk assessment."), words, cl, need)
	}
	if ip := net.ParseIP(name); ip != nil {
		return fmt.Sprintf(pick(da, "%s oplysninger (%s) kræver %s og forlader ikke huset den vej: %s er nævnt ved sin adresse, og så kan navnet ikke bevises. Afsenderen får besked. Skriv tls_name, eller vouches hvis I selv indestår for vejen derfra.",
			"%s information (%s) needs %s and does not leave this way: %s is named by its address, so its name cannot be proven. Its sender is told. Write tls_name, or vouches if you answer for the way from there."), words, cl, need, r.SmartHost)
	}
	return fmt.Sprintf(pick(da, "%s oplysninger (%s) kræver %s. De forlader kun huset, hvis %s beviser navnet %s med TLS 1.2 eller nyere; ellers sendes de ikke, og afsenderen får at vide hvorfor.",
		"%s information (%s) needs %s. It leaves only if %s proves the name %s with TLS 1.2 or newer; otherwise it is not sent, and its sender is told why."), words, cl, need, r.SmartHost, name)
}

// bodies says where the content of waiting messages lies.
func bodies(c *config.Config, da bool) string {
	s := c.Bodies.S3
	if s == nil {
		return fmt.Sprintf(pick(da, "Mens beskeder venter, ligger deres indhold krypteret i regnskabet, %s.",
			"While messages wait, their content lies encrypted in the ledger, %s."), where(c))
	}
	store := s.Endpoint + "/" + s.Bucket + "/" + s.Prefix
	if !c.Bodies.New {
		return fmt.Sprintf(pick(da, "Nye beskeders indhold lægges krypteret i regnskabet, %s. Det, der allerede ligger i objektlageret %s, læses og slettes der.",
			"The content of new messages is put, encrypted, into the ledger, %s. What lies in the object store %s already is read and removed there."), where(c), store)
	}
	return fmt.Sprintf(pick(da, "Mens beskeder venter, ligger deres indhold krypteret i objektlageret %s. Når lageret ikke svarer, tages der ikke imod post, og afsenderens server prøver igen senere. Vagtens egne beskeder til folk ligger i regnskabet og sendes stadig.",
		"While messages wait, their content lies encrypted in the object store %s. While the store does not answer, no mail is taken, and the sending server tries again later. The guard's own notices lie in the ledger and still go out."), store)
}

func pick(da bool, danish, english string) string {
	if da {
		return danish
	}
	return english
}
