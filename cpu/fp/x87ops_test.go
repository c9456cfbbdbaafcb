package fp

func (o *op) checkX87(e *Env, got, want answer) string { return "" }
