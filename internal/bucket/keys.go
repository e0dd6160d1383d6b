package bucket

import "os"

// Keys are a store's credentials. They show themselves to nobody: String is a row of dots.
type Keys struct {
	ID, Secret string
	Session    string // for temporary credentials; "" none
}

func (k Keys) String() string   { return "••••" }
func (k Keys) GoString() string { return k.String() }

// fromEnvironment takes the variables that all S3 tools know.
func fromEnvironment() Keys {
	return Keys{ID: os.Getenv("AWS_ACCESS_KEY_ID"), Secret: os.Getenv("AWS_SECRET_ACCESS_KEY"), Session: os.Getenv("AWS_SESSION_TOKEN")}
}
