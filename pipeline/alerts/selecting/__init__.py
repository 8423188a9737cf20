"""What the settings say of some series of a stream only. In: a series' name; out: the policy that holds for it. Begin with `selectors`."""
