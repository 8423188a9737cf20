/* The life of a partition as a protocol: claim, load, batch, alerts, checkpoint, refusal; with everything that goes wrong.

   Explored by spin in full (tests/model/explore.py; README.md beside this file says which line of the code is which line here).
   The log of a partition is records 0..N-1. The effect of record i on the state, and its alert, are bit i. Records of one
   parity share a page of the state; a checkpoint writes the pages that changed since the last one, or all of them. What it writes is collected
   in one step and written in a later one; between the two the worker goes on, whatever it does.

   Variants, each of which must give a counterexample:
     NO_NONCE                  save does not ask who claimed last
     OFFSET_APART              the offset is stored beside the state, in a write of its own
     ALERTS_AFTER_CHECKPOINT   alerts go out after the checkpoint that covers them
     DIFFERENCE_AFTER_REFUSAL  what is written after a refusal is the difference to the last checkpoint
     NEVER_VERIFIED            an owner without new records never looks whether the store still has its state
     LATER_STATE               what a checkpoint writes is collected when it is sent, not as of its offset

   With DECISION something is decided once, by people: each partition takes it at one place of its log, the records before it are processed
   without it and those from it on with it, whoever does so. A worker then holds no more than one record that is not in a checkpoint, and takes
   what is decided two behind what it knows to be (`PartitionLoop.begin`, with its two checkpoints' worth). Variants:
     UNMARKED                  what is taken counts whoever's mark stands before it
     TAKEN_HERE                it is taken where the worker stands, though an owner before may have published more
     ASKED_BEFORE              an owner that has to mark again asks the group before it does, not behind it
     ASLEEP                    a worker that slept does not ask whether it is a member before it works on
*/

#ifndef P
#define P 1       /* partitions, 1 or 2 */
#endif
#ifndef N
#define N 4       /* records of each, at most 4 */
#endif
#define W 2       /* workers */
#ifndef CRASHES
#define CRASHES 2
#endif
#ifndef ZOMBIES
#define ZOMBIES 1 /* all partitions of a worker given away while it does not know; it goes on, at any pace, until it is told */
#endif
#ifndef MOVES
#define MOVES 0   /* partitions taken away in order, the worker being asked first */
#endif
#ifndef TRAVELS
#define TRAVELS 1 /* the store falls back to any earlier state, the empty one included */
#endif
#ifndef LOST
#define LOST 0    /* answers of the store that are lost, so that the call is repeated */
#endif
#ifndef LATE
#define LATE 0    /* writes of a worker that is gone which arrive later, if ever */
#endif

#ifdef DECISION
#define WITH_DECISION(x) x
#else
#define WITH_DECISION(x) skip
#endif
#define NOT 15                      /* taken at no offset */
#define NOBODY W
#define SLOT (w * P + p)
#define BIT(i) (1 << (i))
#define PREFIX(n) (BIT(n) - 1)      /* the effects of records 0..n-1 */
#define ALL PREFIX(N)
#define PAGE(i) BIT((i) % 2)
#define PAGES(d) ((((d) & 1) -> 5 : 0) | (((d) & 2) -> 10 : 0))  /* the records of the pages in d */

/* A nonce is random and never used again, so all that counts is which of the nonces in sight are equal: */
#define NONE 0                      /* of a hash that is not there */
#define MINE (w + 1)                /* the last claim of worker w's task */
#define STRAY 3                     /* of the write that outlived its sender */
#define OLD 4                       /* of nobody who could write */

/* One hash of the store. A write id is nonce, sequence and offset of the write. The first is the owner's and the others are
   the hash's own, so one bit says that the owner has written at all. */
typedef Hash {
  byte owner; byte sequence; byte offset; byte fields; bit written;
#ifdef DECISION
  bit decided                       /* the decision is in force in it */
#endif
};

/* A save that outlives its sender. */
typedef Message { bit there; byte sequence; byte offset; byte memory; byte dirty; bit all };

Hash store[P];
Hash before[P];             /* what the store will fall back to, while `kept` */
bit kept[P];
Message late[P];
byte apart[P];              /* OFFSET_APART: the offset, beside the hash */
byte committed[P];          /* the group's offset, from which a lost state is known to have been one */
byte published[P];          /* alerts that the broker has acknowledged */
#ifdef DECISION
byte mark[P];               /* the last mark in the topic of decisions */
byte taken[P] = NOT;        /* what its lines say, read in order: the offset at which the decision was taken */
byte under[P];              /* alerts of those published that the decision was in force for */
#endif
byte owner[P] = NOBODY;     /* what the group says */
byte sequence[W * P];       /* of each task's claim */
bit running[W * P];
byte told[W * P];           /* the group's word to a task: 1 let go in order, 2 its time is up */
bit dead[W * P];            /* the process was killed, and the task has not ended yet */
bit calm;                   /* no more faults from here on */
byte crashes, zombies, moves, travels, lost, lates;

inline copy(to, from) {
  to.owner = from.owner; to.sequence = from.sequence; to.offset = from.offset; to.fields = from.fields;
  to.written = from.written; WITH_DECISION(to.decided = from.decided)
}

inline forget(hash) {
  hash.owner = NONE; hash.sequence = 0; hash.offset = 0; hash.fields = 0; hash.written = 0;
  WITH_DECISION(hash.decided = 0)
}

/* A nonce gets another name wherever it stands in the store and in what the store may fall back to. */
inline rename(p, nonce, name) {
  if :: store[p].owner == nonce -> store[p].owner = name :: else -> skip fi;
  if :: before[p].owner == nonce -> before[p].owner = name :: else -> skip fi
}

/* Just before it changes, the store may be what it will fall back to. */
inline keep(p) {
  if
  :: !calm && travels < TRAVELS -> travels++; kept[p] = 1; copy(before[p], store[p])
  :: true -> skip
  fi
}

/* claim.lua */
inline claim(w, p) {
  keep(p);
  rename(p, MINE, OLD);
  store[p].owner = MINE;
  store[p].written = 0;
  sequence[SLOT] = store[p].sequence
}

/* Sequence numbers are compared and followed, nothing else: all that are in sight may go down together, and then situations
   that are equal are one state. */
#define ABOVE(used, number) (!(used) || (number) > 0)
inline shift(p) {
  do
  :: store[p].sequence > 0 && ABOVE(kept[p], before[p].sequence) && ABOVE(late[p].there, late[p].sequence) &&
     ABOVE(running[p], sequence[p]) && ABOVE(running[P + p], sequence[P + p]) ->
     store[p].sequence--;
     if :: kept[p] -> before[p].sequence-- :: else -> skip fi;
     if :: late[p].there -> late[p].sequence-- :: else -> skip fi;
     if :: running[p] -> sequence[p]-- :: else -> skip fi;
     if :: running[P + p] -> sequence[P + p]-- :: else -> skip fi
  :: else -> break
  od
}

#ifdef NO_NONCE
#define OWNED(p, nonce) true
#else
#define OWNED(p, nonce) (store[p].owner == nonce)
#endif

/* save.lua: ok where it was written, or is a retry of what was. What the store holds after a write must be right. */
inline save(p, nonce, from, at, content, pages, whole, with, ok) {
  if
  :: store[p].owner == NONE -> ok = false                                       /* vanished */
  :: store[p].owner != NONE && !OWNED(p, nonce) -> ok = false                   /* owner */
  :: store[p].owner != NONE && OWNED(p, nonce) ->
     if
     :: store[p].owner == nonce && store[p].written && store[p].sequence == from + 1 && store[p].offset == at ->
        ok = true                                                               /* a retry */
     :: else ->
        if
        :: store[p].sequence != from -> ok = false                              /* sequence */
        :: store[p].sequence == from && store[p].offset > at -> ok = false      /* ahead */
        :: store[p].sequence == from && store[p].offset <= at ->
           keep(p);
           store[p].fields = (whole -> content : ((store[p].fields & ~PAGES(pages)) | (content & PAGES(pages))));
           store[p].sequence = from + 1;
           store[p].offset = at;
           store[p].written = (store[p].owner == nonce);
           WITH_DECISION(store[p].decided = with);
           ok = true;
           /* Of the records before the offset nothing is missing from the state; nothing of those behind it is in it. */
           assert(store[p].fields == PREFIX(at));
#ifndef ALERTS_AFTER_CHECKPOINT
           /* Were all to die now, the alert of no record before the offset would be lost. */
           assert((published[p] & PREFIX(at)) == PREFIX(at))
#endif
        fi
     fi
  fi
}

#ifdef DECISION
/* In memory: the decision is in force. */
#define DECIDED (knows <= position)
/* A worker holds one record without a checkpoint, all of them while it reads back; and it is a member when it begins with a record
   (`PartitionLoop._stay`). */
#ifdef ASLEEP
#define MAY_GO_ON ((!dirty && !saving) || position < until)
#else
#define MAY_GO_ON (owner[p] == w && ((!dirty && !saving) || position < until))
#endif
#ifdef TAKEN_HERE
#define SAID(known) 0
#else
#define SAID(known) ((known) + 2 < N -> (known) + 2 : N)
#endif
#ifdef UNMARKED
#define COUNTS true
#else
#define COUNTS (mark[p] == MINE)
#endif
#define TRUSTED (store[p].decided || store[p].offset <= knows)
#else
#define DECIDED 0
#define MAY_GO_ON true
#define TRUSTED true
#endif

#ifdef LATER_STATE
#define WRITTEN memory
#else
#define WRITTEN image
#endif

/* Checkpoints.begin: what changed is collected, and counts as written; until it is known to be stored, the next is everything. It is sent
   when what was published is acknowledged. */
inline begin() {
#ifndef ALERTS_AFTER_CHECKPOINT
#ifdef DECISION
  /* Nobody has published the alert of one of these records otherwise. */
  assert((published[p] & unpublished & (under[p] ^ with)) == 0);
  under[p] = under[p] | with; with = 0;
#endif
  published[p] = published[p] | unpublished; unpublished = 0;   /* Outbox.acknowledged */
#endif
  at = position; image = memory; pages = dirty; whole = all; dirty = 0; saving = 1;
#ifndef DIFFERENCE_AFTER_REFUSAL
  all = 1
#else
  all = 0
#endif
}

/* A partition of one worker: _Partition._open, _work and stop of agents.py around PartitionLoop of loop.py. */
proctype Task(byte w; byte p) {
  byte position, memory, dirty, unpublished, until;
  byte at, image, pages;                                        /* of the checkpoint under way, while `saving` */
#ifdef DECISION
  byte knows = NOT, said, with;
#endif
  bit all, ok, saving, whole, denied, last;

end_unassigned:
  atomic { owner[p] == w && !running[SLOT] -> running[SLOT] = 1 };
  {
    skip;
open:
    atomic { claim(w, p) };                                     /* _claim_and_load */
    atomic {
      if
      :: store[p].owner == MINE ->                              /* _adopt; or nothing is stored: from the log's start */
#ifdef OFFSET_APART
         position = apart[p];
#else
         position = store[p].offset;
#endif
         memory = store[p].fields; ok = true;
         if                                                     /* begin: nothing is stored, but something was */
         :: store[p].fields == 0 && position == 0 -> until = committed[p]
         :: else -> skip
         fi
      :: else -> ok = false                                     /* refused: somebody claimed in between */
      fi
    };
#ifdef DECISION
    if
    :: ok -> atomic { mark[p] = MINE };                         /* Decisions.claim: a mark, and all that stands before it is read */
             atomic { knows = taken[p];
               if
               :: !TRUSTED -> position = 0; memory = 0; until = committed[p]   /* as if nothing were stored */
               :: else -> skip
               fi;
               said = SAID((position > committed[p] -> position : committed[p]))   /* begin */
             }
    :: !ok -> skip
    fi;
#endif
    if
    :: atomic { !ok && owner[p] == w -> goto open }
    :: atomic { owner[p] != w -> goto ended }
    :: atomic { ok && owner[p] == w -> ok = false }             /* the first commit, before work starts */
    fi;

end_work:
    if
    :: atomic { told[SLOT] == 0 && position < N && MAY_GO_ON -> /* batch: any cut into batches is a sequence of these */
         /* In memory is what came before, all of it and once, and nothing else. So score and alert of this record are
            those of the undisturbed run, and no other is ever published. */
         assert(memory == PREFIX(position));
         memory = memory | BIT(position);
         dirty = dirty | PAGE(position);
         unpublished = unpublished | (position < until -> 0 : BIT(position));   /* what was published is read quietly */
         WITH_DECISION(with = with | (position < until || !DECIDED -> 0 : BIT(position)));
         position++;
         goto end_work
       }
    :: saving -> goto write                                     /* the one under way arrives at any moment */
    :: atomic { told[SLOT] == 0 && denied -> denied = 0; goto refused }   /* its answer is seen to between two batches */
    :: atomic { told[SLOT] == 0 && !saving && !denied && dirty && position >= until -> skip }   /* one is due: after any batch */
#ifdef DECISION
    :: atomic { told[SLOT] == 0 && !dirty && !saving && !denied && position >= until && knows == NOT -> goto take }  /* _take, after a checkpoint */
#endif
#ifndef NEVER_VERIFIED
    :: atomic { told[SLOT] == 0 && !dirty && !saving && !denied && position > 0 &&    /* VERIFY_EVERY */
         (store[p].owner != MINE || store[p].sequence != sequence[SLOT] || store[p].offset != position) -> skip }
#endif
    :: atomic { told[SLOT] == 1 && !saving && ((!dirty && !denied) || position < until) -> goto ended }   /* revoked: behind what is under way */
    :: atomic { told[SLOT] == 1 && !saving && (dirty || denied) && position >= until -> denied = 0; last = 1 }
    fi;

    atomic {
      begin();
      if :: last -> skip :: else -> goto end_work fi            /* the partition goes on */
    };
write:
    atomic {                                                    /* Checkpoints._store_it, patiently */
      save(p, MINE, sequence[SLOT], at, WRITTEN, pages, whole, DECIDED, ok);
      if
      :: lost < LOST && !last && !calm -> lost++; ok = 0; goto write    /* the answer does not arrive: the same again */
      :: true -> skip
      fi;
      saving = 0; image = 0; pages = 0; whole = 0;
      if
      :: ok -> sequence[SLOT]++; all = 0; ok = 0; shift(p);     /* _written */
         if :: owner[p] == w && at > committed[p] -> committed[p] = at :: else -> skip fi   /* it never falls */
      :: else ->
         at = 0;
         if :: last -> goto ended :: else -> denied = 1; goto end_work fi    /* no checkpoint at revocation */
      fi
    };
#ifdef OFFSET_APART
    apart[p] = at;
#endif
#ifdef ALERTS_AFTER_CHECKPOINT
    atomic { published[p] = published[p] | unpublished; unpublished = 0 };
#endif
    if
    :: atomic { last -> goto ended }
    :: atomic { else -> at = 0; goto end_work }
    fi;

#ifdef DECISION
take:                                                           /* Decisions.take */
    atomic {
      if
      :: COUNTS && taken[p] == NOT -> taken[p] = (position > said -> position : said)
      :: else -> skip
      fi
    };
    atomic { knows = taken[p] };                                /* it is read back, and what it led to goes out after that */
    if
    :: atomic { knows != NOT && position == 0 -> goto end_work }
    :: atomic { knows != NOT && position > 0 -> begin(); goto write }
    :: atomic { knows == NOT -> skip }                          /* another mark stands before it */
    fi;
#ifdef ASKED_BEFORE
    if
    :: owner[p] == w -> skip
    :: atomic { owner[p] != w -> goto ended }
    fi;
    atomic { mark[p] = MINE; goto take };
#else
    atomic { mark[p] = MINE };
    if
    :: atomic { owner[p] == w -> goto take }
    :: atomic { owner[p] != w -> goto ended }
    fi;
#endif
#endif

refused:                                                        /* _refused */
    if
    :: atomic { owner[p] == w ->                                /* still_owner */
#ifndef DIFFERENCE_AFTER_REFUSAL
         all = 1
#endif
       }
    :: atomic { owner[p] != w -> goto ended }
    fi;
again:
    atomic { claim(w, p) };
    if
    :: atomic { store[p].owner != MINE -> goto refused }
    :: atomic { store[p].owner == MINE && store[p].offset > position && !TRUSTED ->
         keep(p); forget(store[p]); goto again }                /* written over */
    :: atomic { store[p].owner == MINE && store[p].offset > position && TRUSTED ->   /* ahead of memory: adopted */
         position = store[p].offset; memory = store[p].fields; dirty = 0; all = 0;
         goto end_work }
    :: atomic { store[p].owner == MINE && store[p].offset <= position ->
         begin(); goto write }                                  /* everything, out of memory */
    fi
  } unless { dead[SLOT] || told[SLOT] == 2 };
ended:
  /* _drop, or the end of the process: memory goes. A save on its way may still arrive. */
  atomic {
    if
    :: saving && lates < LATE && !late[p].there && !calm ->
       lates++;
       rename(p, MINE, STRAY);
       late[p].there = 1; late[p].sequence = sequence[SLOT]; late[p].offset = at;
       late[p].memory = image; late[p].dirty = pages; late[p].all = whole
    :: true -> rename(p, MINE, OLD)
    fi;
#ifdef DECISION
    if :: mark[p] == MINE -> mark[p] = OLD :: else -> skip fi;
    knows = NOT; said = 0; with = 0;
#endif
    if
    :: owner[p] == w && !dead[SLOT] -> owner[p] = NOBODY        /* it left; the group gives the partition anew */
    :: else -> skip
    fi;
    position = 0; memory = 0; dirty = 0; unpublished = 0; until = 0; all = 0; ok = 0; saving = 0; last = 0; denied = 0;
    at = 0; image = 0; pages = 0; whole = 0;
    sequence[SLOT] = 0; told[SLOT] = 0; running[SLOT] = 0; dead[SLOT] = 0;
    goto end_unassigned
  }
}

/* Kafka's group towards one worker and one partition. */
proctype Group(byte w; byte p) {
end:
  do
  :: atomic { owner[p] == NOBODY && !running[SLOT] -> owner[p] = w }
  :: atomic { !calm && moves < MOVES && owner[p] == w && running[SLOT] && !dead[SLOT] && told[SLOT] == 0 ->
       moves++; told[SLOT] = 1 }                                /* a rebalance: the worker is asked to let go */
  :: atomic { running[SLOT] && !dead[SLOT] && told[SLOT] == 0 && owner[p] != w -> told[SLOT] = 1 }  /* a zombie hears of it */
  :: atomic { running[SLOT] && !dead[SLOT] && told[SLOT] == 1 -> told[SLOT] = 2 }                   /* BATCH_GRACE is over */
  od
}

/* What befalls a worker as a whole. */
proctype Fate(byte w) {
  byte p;
end:
  do
  :: atomic { !calm && crashes < CRASHES ->                     /* kill -9, and a new process at once */
       crashes++;
       for (p : 0 .. P - 1) {
         if :: owner[p] == w -> owner[p] = NOBODY :: else -> skip fi;
         if :: running[SLOT] -> dead[SLOT] = 1; told[SLOT] = 0 :: else -> skip fi
       }
       p = 0
     }
  :: atomic { !calm && zombies < ZOMBIES ->                     /* paused past its session's end; it goes on afterwards */
       zombies++;
       for (p : 0 .. P - 1) { if :: owner[p] == w -> owner[p] = NOBODY :: else -> skip fi }
       p = 0
     }
  od
}

/* A write on its way reaches the store, or is lost. */
inline arrive(p) {
  if
  :: save(p, STRAY, late[p].sequence, late[p].offset, late[p].memory, late[p].dirty, late[p].all, 0, ok)
  :: true -> skip
  fi;
  ok = 0;
  late[p].there = 0; late[p].sequence = 0; late[p].offset = 0; late[p].memory = 0; late[p].dirty = 0; late[p].all = 0;
  rename(p, STRAY, OLD)
}

inline fall_back(p) {
  copy(store[p], before[p]); forget(before[p]); kept[p] = 0
}

#if P > 1
#define KEPT (kept[0] || kept[1])
#else
#define KEPT kept[0]
#endif

/* The store, and the network in front of it. */
proctype World() {
  bit ok;
end:
  do
  :: atomic { kept[0] -> fall_back(0) }                         /* failed over to a replica that lagged, or restarted */
#if P > 1
  :: atomic { kept[1] -> fall_back(1) }
#endif
  :: atomic { late[0].there -> arrive(0) }
#if P > 1
  :: atomic { late[1].there -> arrive(1) }
#endif
  :: atomic { !calm && !KEPT -> calm = 1; crashes = 0; zombies = 0; moves = 0; travels = 0; lost = 0; lates = 0 }
  od
}

#ifdef DECISION
#define DONE(p) (store[p].offset == N && published[p] == ALL && taken[p] != NOT)
#else
#define DONE(p) (store[p].offset == N && published[p] == ALL)
#endif
#if P > 1
#define EVERYTHING (DONE(0) && DONE(1))
#else
#define EVERYTHING DONE(0)
#endif

/* Wherever the world comes to rest, all of it is done. */
proctype Rest() {
end:
  timeout -> assert(EVERYTHING)
}

init {
  byte w, p;
  atomic {
    for (w : 0 .. W - 1) {
      for (p : 0 .. P - 1) { run Task(w, p); run Group(w, p) }
      run Fate(w)
    }
    run World();
    run Rest()
  }
}

/* Once faults stop it comes to rest: no circle of claims and refusals goes on for ever. */
#ifdef PROGRESS
ltl progress { <> [] EVERYTHING }
#endif
