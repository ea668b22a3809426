"""`repcount view`: a web application on this machine that plays counted videos with their curves and takes corrections."""
