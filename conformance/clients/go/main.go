// One request through Go's masterzen/winrm, its transports as they are.
//
// The package only knows shells, so the request's headers and body are given as XML, and put into the package's own
// message; connecting, logging in and reading the answer are the package's. Standard input is the JSON of Order; the
// answer goes to standard output, an error of the package to standard error with exit code 1.
package main

import (
	"encoding/json"
	"fmt"
	"io/ioutil"
	"os"
	"time"

	"github.com/masterzen/simplexml/dom"
	"github.com/masterzen/winrm"
	"github.com/masterzen/winrm/soap"
)

// Order is one request and the way to send it.
type Order struct {
	Mechanism, Host             string
	Port                        int
	TLS                         bool
	Authority, Certificate, Key string // PEM files, or empty
	User, Password              string
	Headers, Body               string // the children of Header and Body
}

func main() {
	answer, err := carryOut()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Print(answer)
}

func carryOut() (string, error) {
	var order Order
	if err := json.NewDecoder(os.Stdin).Decode(&order); err != nil {
		return "", err
	}
	files := make([][]byte, 3)
	for i, name := range []string{order.Authority, order.Certificate, order.Key} {
		if name == "" {
			continue
		}
		octets, err := ioutil.ReadFile(name)
		if err != nil {
			return "", err
		}
		files[i] = octets
	}
	endpoint := winrm.NewEndpoint(
		order.Host, order.Port, order.TLS, false, files[0], files[1], files[2], 30*time.Second)
	parameters := winrm.NewParameters("PT60S", "en-US", 512000)
	transport, err := transportOf(order.Mechanism)
	if err != nil {
		return "", err
	}
	parameters.TransportDecorator = func() winrm.Transporter { return transport }
	client, err := winrm.NewClientWithParameters(endpoint, order.User, order.Password, parameters)
	if err != nil {
		return "", err
	}
	return transport.Post(client, message(order))
}

func transportOf(mechanism string) (winrm.Transporter, error) {
	switch mechanism {
	case "basic":
		return winrm.NewClientWithDial(nil), nil
	case "ntlm":
		return &winrm.ClientNTLM{}, nil
	case "certificate":
		return &winrm.ClientAuthRequest{}, nil
	}
	return nil, fmt.Errorf("no mechanism %s", mechanism)
}

func message(order Order) *soap.SoapMessage {
	message := soap.NewMessage()
	envelope := dom.CreateElement("Envelope")
	soap.AddUsualNamespaces(envelope)
	soap.DOM_NS_SOAP_ENV.SetTo(envelope)
	message.Doc().SetRoot(envelope)
	message.CreateElement(envelope, "Header", soap.DOM_NS_SOAP_ENV).SetContent(order.Headers)
	message.CreateElement(envelope, "Body", soap.DOM_NS_SOAP_ENV).SetContent(order.Body)
	return message
}
