// All of it is in shim.h.
#pragma once
