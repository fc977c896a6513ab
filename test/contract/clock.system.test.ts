/** The system's clock against the clock contract. */
import { systemClock } from '../../shared/clock/system.ts';
import { clockContract } from './clock.contract.ts';

clockContract('system', () => ({ clock: systemClock(), through: (promise) => promise }));
