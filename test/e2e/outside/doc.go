// Package outside tests on a real cluster that a machine which is none of its
// nodes joins the mesh: it is called and calls under STRICT mTLS as what its
// WorkloadGroup says, and is out when its WorkloadEntry goes. Everything is done
// as a user does it, by the weft binary, kubectl and the folder that weft
// writes; it imports test/e2e/rig and of the mesh nothing but envoybin.
package outside
