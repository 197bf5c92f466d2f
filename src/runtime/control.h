// What the control channel answers (control/verbs.def). Runs on the worker: no C library, no allocation, slices.
#pragma once

#include "control/channel.h"

namespace pm {

// A ControlAnswer.
bool answer_control(ControlJob& job, TextWriter& reply);

}  // namespace pm
