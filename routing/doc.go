// Package routing decides where a recipient's mail goes. It is pure: the same view, policy and query give the same decision,
// so that the server, the route command and the tests run the same code.
//
// A [Router] is made once from a [Policy] and asked with a view of the directory. In short:
//
//   - An address outside the shared namespace, the tenant domain and the routing domain is foreign. Clients of the two sides may
//     relay to it, nobody else.
//   - Any other address is looked up: in proxyAddresses, then mail, then both without its +tag, then in what an IMCEA
//     encapsulated address stands for. Two owners are never a choice: the recipient is deferred.
//   - Its owner is a group, which is expanded, or lives in the cloud, on-prem or elsewhere, which msExchRemoteRecipientType,
//     msExchRecipientTypeDetails and targetAddress tell, in this order.
//   - A message is never sent back to the side that it came from under the same address (No U-turn), but for mail that a
//     client submitted that is no mail system.
//
// Every decision names the attribute and value that it rests on.
package routing
