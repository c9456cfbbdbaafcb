package cpu

// With is the model with more features, named as in /proc/cpuinfo: an
// instruction exists only with its feature, and some are in no named model yet.
func (m *Model) With(features string) *Model {
	w := *m
	w.list += " " + features
	w.resolve()
	return &w
}
