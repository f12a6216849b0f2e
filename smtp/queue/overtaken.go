package queue

// overtaken is what an attempt leaves of an entry that the operator has cancelled between the moment in which the attempt read it and
// the one in which its outcome is written: the cancel was answered, so it holds. now is the entry's form in the tables, due its due
// time there. A recipient that the attempt would let wait further stays as the operator left it: owed its report, or gone.
func overtaken(now *entry, due int64, after *entry, afterDue int64) (*entry, int64) {
	if after == nil {
		return nil, afterDue
	}
	var rest []recipient
	changed := false
	for _, r := range after.recipients {
		if r.state != waiting {
			rest = append(rest, r)
			continue
		}
		is := find(now.recipients, r)
		if is == nil {
			changed = true
			continue
		}
		if is.state != waiting {
			changed, r = true, *is
		}
		rest = append(rest, r)
	}
	switch {
	case !changed:
		return after, afterDue
	case len(rest) == 0:
		return nil, afterDue
	}
	after = after.clone()
	after.recipients = rest
	return after, min(due, afterDue)
}

func find(all []recipient, r recipient) *recipient {
	for i := range all {
		if all[i].Address == r.Address {
			return &all[i]
		}
	}
	return nil
}
