package control

import "math/rand/v2"

// birds are names for VMs that were given none: waders, mostly.
var birds = [...]string{
	"avocet", "bittern", "brant", "bunting", "chough", "coot", "cormorant", "courser", "crake", "crane",
	"curlew", "dipper", "dotterel", "dowitcher", "dunlin", "egret", "eider", "fulmar", "gadwall", "gannet",
	"garganey", "goldcrest", "goosander", "grebe", "guillemot", "heron", "hoopoe", "ibis", "jacana", "jackdaw",
	"kestrel", "kingfisher", "kittiwake", "knot", "lapwing", "linnet", "merlin", "moorhen", "nightjar", "osprey",
	"oriole", "petrel", "phalarope", "pintail", "pipit", "plover", "pochard", "pratincole", "puffin", "rail",
	"redshank", "ruff", "sanderling", "shearwater", "shoveler", "skua", "smew", "snipe", "spoonbill", "stilt",
	"stint", "stonechat", "swift", "tattler", "teal", "tern", "turnstone", "whimbrel", "wigeon", "willet",
}

// birdName is a name that taken does not know.
func birdName(taken func(string) bool) string {
	for _, i := range rand.Perm(len(birds)) {
		if !taken(birds[i]) {
			return birds[i]
		}
	}
	for {
		n := birds[rand.IntN(len(birds))] + "-" + string('a'+rune(rand.IntN(26))) + string('a'+rune(rand.IntN(26)))
		if !taken(n) {
			return n
		}
	}
}
