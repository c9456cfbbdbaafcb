package control

// Version is godwit's.
const Version = "0.1"
